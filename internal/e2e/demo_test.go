package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// The first command of the README does what it says.
func TestDemo(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), os.Getenv(binaryVariable), "demo", "--once", "--dir", t.TempDir()).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
