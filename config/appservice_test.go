package config

import (
	"errors"
	"strings"
	"testing"
)

const bridge = `
id: "IRC Bridge"
url: "http://127.0.0.1:1234"
as_token: "30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46"
hs_token: "312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e"
sender_localpart: "_irc_bot"
de.sorunome.msc2409.push_ephemeral: true
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
      group_id: "+x:y"
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
`

func TestRegistrationsAreRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "as/irc.yaml", bridge)
	write(t, dir, "as/quiet.yml", "id: quiet\nurl: null\nas_token: a\nhs_token: b\nsender_localpart: q\nrate_limited: false\nreceive_ephemeral: true\nprotocols: [x]\nnamespaces: {}\n")
	write(t, dir, "as/README.md", "not a registration")
	cfg, err := Load(write(t, dir, "entente.yaml", "server_name: a\nappservices: {folder: as}\n"))
	if err != nil {
		t.Fatal(err)
	}
	services := cfg.AppServices.Registrations
	if len(services) != 2 {
		t.Fatalf("%d registrations", len(services))
	}
	irc, quiet := services[0], services[1]
	if irc.ID != "IRC Bridge" || irc.URL != "http://127.0.0.1:1234" || irc.SenderLocalpart != "_irc_bot" || !irc.RateLimited ||
		len(irc.Namespaces.Users) != 1 || !irc.Namespaces.Users[0].Exclusive || irc.Namespaces.Aliases[0].Exclusive ||
		!strings.HasPrefix(irc.ASToken.Reveal(), "30c0") {
		t.Errorf("got %+v", irc)
	}
	if quiet.URL != "" || quiet.RateLimited || !quiet.ReceiveEphemeral || len(quiet.Protocols) != 1 {
		t.Errorf("got %+v", quiet)
	}
}

func TestMistakesInRegistrations(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "as/1.yaml", bridge)
	write(t, dir, "as/2.yaml", bridge)
	write(t, dir, "as/3.yaml", "id: x\nurl: here\nas_token: [a]\nsender_localpart: \"@x:y\"\nnamespaces: {users: [{regex: \"(\"}, {exclusive: true}]}\n")
	write(t, dir, "as/4.yaml", "id: [")
	_, err := Load(write(t, dir, "entente.yaml", "server_name: a\nlevel: x\nappservices: {folder: as}\n"))
	var mistakes Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatal(err)
	}
	for _, want := range []string{
		"entente.yaml:2:1: level", "2.yaml:2:1: id: the ID is the same", "2.yaml:4:1: as_token: the token is the same",
		"3.yaml:2:1: url: not an http", "as_token: expected a text", "as_token: the setting is missing", "hs_token: the setting is missing",
		"sender_localpart: not a localpart", "namespaces.users[0].regex: not a regular expression", "namespaces.users[1].regex: the setting is missing",
		"4.yaml:1", "not YAML",
	} {
		if !strings.Contains(mistakes.Error(), want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if t.Failed() {
		t.Log(mistakes)
	}
}

func FuzzAppService(f *testing.F) {
	f.Add(bridge)
	f.Fuzz(func(t *testing.T, text string) {
		parseAppService("x.yaml", []byte(text))
	})
}
