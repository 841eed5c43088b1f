package config

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// AppService is the registration of an application service. Bridges add keys
// of their own to the file; those are ignored.
//
// Spec: application-service-api/#registration
type AppService struct {
	// A name for the service that never changes.
	ID string `yaml:"id"`
	// Base URL that events are sent to; empty or null for none.
	URL string `yaml:"url"`
	// Token that the service shows us.
	ASToken Secret `yaml:"as_token"`
	// Token that we show the service.
	HSToken Secret `yaml:"hs_token"`
	// Localpart of the service's own user.
	SenderLocalpart string `yaml:"sender_localpart"`
	// Send typing, receipts and presence too.
	ReceiveEphemeral bool `yaml:"receive_ephemeral"`
	// Limit how often users of the service may call.
	RateLimited bool `yaml:"rate_limited"`
	// Protocols that the service bridges to.
	Protocols []string `yaml:"protocols"`
	// What the service is interested in.
	Namespaces Namespaces `yaml:"namespaces"`
	// The file that it was read from.
	File string `yaml:"-"`
}

// Namespaces are what an application service is interested in.
type Namespaces struct {
	// User IDs.
	Users []Namespace `yaml:"users"`
	// Room IDs.
	Rooms []Namespace `yaml:"rooms"`
	// Room aliases.
	Aliases []Namespace `yaml:"aliases"`
}

// Namespace is a set of identifiers.
type Namespace struct {
	// Nobody else may make identifiers of the set.
	Exclusive bool `yaml:"exclusive"`
	// A regular expression that matches the set's members.
	Regex string `yaml:"regex"`
}

// appServices reads every registration in a folder. The mistakes are those of
// all files.
func appServices(folder string) ([]AppService, Mistakes, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, nil, err
	}
	var services []AppService
	var mistakes Mistakes
	ids, tokens := map[string]string{}, map[Secret]string{}
	for _, entry := range entries {
		name := entry.Name()
		if ext := filepath.Ext(name); entry.IsDir() || ext != ".yaml" && ext != ".yml" {
			continue
		}
		path := filepath.Join(folder, name)
		text, err := readFile(path)
		if err != nil {
			mistakes = append(mistakes, Mistake{File: path, Problem: "the file cannot be read: " + err.Error(), Remedy: "make it readable"})
			continue
		}
		service, d := parseAppService(path, text)
		if other, taken := ids[service.ID]; taken && service.ID != "" {
			d.wrong("id", "the ID is the same as in "+other, "give each application service an ID of its own")
		}
		if other, taken := tokens[service.ASToken]; taken && service.ASToken != "" {
			d.wrong("as_token", "the token is the same as in "+other, "give each application service a token of its own")
		}
		ids[service.ID], tokens[service.ASToken] = path, path
		services = append(services, service)
		mistakes = append(mistakes, d.mistakes...)
	}
	return services, mistakes, nil
}

// parseAppService reads one registration.
func parseAppService(path string, text []byte) (AppService, *decoder) {
	service := AppService{File: path, RateLimited: true}
	d := newDecoder(path)
	d.lenient = true
	d.document(text, &service)
	if d.broken {
		return service, d
	}
	for _, required := range []struct{ name, value string }{
		{"id", service.ID}, {"as_token", service.ASToken.Reveal()},
		{"hs_token", service.HSToken.Reveal()}, {"sender_localpart", service.SenderLocalpart},
	} {
		if required.value == "" {
			d.wrong(required.name, "the setting is missing", "add it; the service's own documentation says what it should be")
		}
	}
	for _, required := range []string{"url", "namespaces"} {
		if _, set := d.at[required]; !set {
			d.wrong(required, "the setting is missing", "add it")
		}
	}
	if service.URL != "" && !webURL(service.URL) {
		d.wrong("url", "not an http or https URL", "write it as http://127.0.0.1:29318, or null if no events should be sent")
	}
	if strings.ContainsAny(service.SenderLocalpart, ":@ ") {
		d.wrong("sender_localpart", "not a localpart", "write the part between @ and : of the user's ID")
	}
	checkNamespaces(d, "namespaces.users", service.Namespaces.Users)
	checkNamespaces(d, "namespaces.rooms", service.Namespaces.Rooms)
	checkNamespaces(d, "namespaces.aliases", service.Namespaces.Aliases)
	return service, d
}

func checkNamespaces(d *decoder, path string, namespaces []Namespace) {
	for i, namespace := range namespaces {
		at := index(path, i)
		if namespace.Regex == "" {
			d.wrong(at+".regex", "the setting is missing", "add a regular expression")
		} else if _, err := regexp.Compile(namespace.Regex); err != nil {
			d.wrong(at+".regex", "not a regular expression: "+err.Error(), "correct it; the syntax is RE2's")
		}
	}
}

// webURL reports whether s is an absolute http or https URL.
func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}
