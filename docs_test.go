package entente

import (
	"errors"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"entente/config"
)

// The page that tells a newcomer where things are names no place that is gone,
// and leaves no package out.
func TestArchitecturePageIsTrue(t *testing.T) {
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, quoted := range regexp.MustCompile("`(\\.?[a-z0-9-]+(/[a-z0-9_-]+)*(\\.[a-z]+)?)`").FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(quoted[1]); err != nil {
			t.Errorf("docs/architecture.md names %s, which is not there", quoted[1])
		}
	}
	for _, m := range packages(t) {
		pkg, ours := strings.CutPrefix(m.ImportPath, "entente/")
		for ours && !strings.Contains(page, "`"+pkg+"`") && !strings.Contains(page, "`"+pkg+"/") {
			// A folder stands for the packages below it.
			if pkg, ours = parent(pkg); !ours {
				t.Errorf("docs/architecture.md does not say what %s is for", m.ImportPath)
			}
		}
	}
}

// parent is the folder above, unless it is one of those that only hold others.
func parent(pkg string) (string, bool) {
	dir := path.Dir(pkg)
	return dir, dir != "." && dir != "internal" && dir != "cmd"
}

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
