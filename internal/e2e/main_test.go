package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMain builds the command once, for all tests, and names it in an
// environment variable, which is where a test finds it.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

const binaryVariable = "ENTENTE_E2E_BINARY"

func run(m *testing.M) int {
	if os.Getenv(binaryVariable) == "" {
		dir, err := os.MkdirTemp("", "entente-e2e")
		if err == nil {
			defer os.RemoveAll(dir)
			err = build(filepath.Join(dir, "entente"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "build the command:", err)
			return 1
		}
	}
	return m.Run()
}

func build(path string) error {
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "entente/cmd/entente")...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	return os.Setenv(binaryVariable, path)
}
