package entente

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"entente/config"
)

// What we ship as configuration must be one that the server takes. The files
// that it names are made later, so mistakes about those are none.
func TestShippedConfigurationsAreValid(t *testing.T) {
	compose, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var project struct {
		Configs map[string]struct{ Content string }
	}
	if err := yaml.Unmarshal(compose, &project); err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	texts := make(map[string]string)
	for _, agency := range []string{"north", "south"} {
		texts["docker-compose.yml "+agency] = project.Configs[agency].Content
	}
	suites, err := os.ReadFile("complement/entente.yaml")
	if err != nil {
		t.Fatal(err)
	}
	texts["complement/entente.yaml"] = strings.NewReplacer(
		"SERVER_NAME", "localhost:8800", "FOLDER", "/nowhere", "CA_FILE", "/nowhere/ca.crt", "APPSERVICES", "/nowhere",
	).Replace(string(suites))

	missing := regexp.MustCompile(`(file|folder) cannot be read`)
	for name, text := range texts {
		if strings.TrimSpace(text) == "" {
			t.Errorf("%s is empty", name)
		}
		_, err := config.Parse(name, []byte(text))
		mistakes := config.Mistakes(nil)
		if err != nil && !errors.As(err, &mistakes) {
			t.Errorf("%s: %v", name, err)
		}
		for _, m := range mistakes {
			if !missing.MatchString(m.Problem) {
				t.Error(m)
			}
		}
	}
}
