package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// SigningKey is a key of this server with its ID, for example "ed25519:a1b2".
//
// In a file it is one line of three words, the form that the field's servers
// and tools share:
//
//	ed25519 a1b2 <the 32 bytes of the seed in unpadded base64>
type SigningKey struct {
	ID      string
	Private ed25519.PrivateKey
}

// LogValue shows the ID only.
func (k SigningKey) String() string { return k.ID }

// GoString shows the ID only.
func (k SigningKey) GoString() string { return k.ID }

// keyVersion is the grammar of what follows the algorithm in a key's ID.
// Spec: server-server-api/#retrieving-server-keys
var keyVersion = regexp.MustCompile(`^[a-zA-Z0-9_]+$`)

// ReadSigningKey reads a key from a file that nobody but its owner may read.
func ReadSigningKey(path string) (SigningKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return SigningKey{}, err
	}
	if loose := info.Mode().Perm() & 0o077; loose != 0 {
		return SigningKey{}, fmt.Errorf("%s can be read or written by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := readFile(path)
	if err != nil {
		return SigningKey{}, err
	}
	key, err := ParseSigningKey(string(text))
	if err != nil {
		return SigningKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ParseSigningKey parses a key in the form that files have. Its errors never
// quote the text.
func ParseSigningKey(text string) (SigningKey, error) {
	words := strings.Fields(text)
	if len(words) != 3 || words[0] != "ed25519" {
		return SigningKey{}, errors.New("not a signing key: one line of ed25519, a key ID and a seed is expected")
	}
	if !keyVersion.MatchString(words[1]) {
		return SigningKey{}, errors.New("the key ID may only have letters, digits and underscores")
	}
	seed, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(words[2], "="))
	if err != nil || len(seed) != ed25519.SeedSize {
		return SigningKey{}, errors.New("the seed is not 32 bytes in base64")
	}
	return SigningKey{ID: "ed25519:" + words[1], Private: ed25519.NewKeyFromSeed(seed)}, nil
}

// CreateSigningKey makes a key and writes it to a new file that only its
// owner may read. It never replaces a file.
func CreateSigningKey(path string) (SigningKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return SigningKey{}, err
	}
	// Six letters are enough to tell the keys of one server apart.
	name := strings.ToLower(rand.Text()[:6])
	line := fmt.Sprintf("ed25519 %s %s\n", name, base64.RawStdEncoding.EncodeToString(private.Seed()))
	if err := CreateFile(path, []byte(line)); err != nil {
		return SigningKey{}, err
	}
	return SigningKey{ID: "ed25519:" + name, Private: private}, nil
}

// CreateFile writes a new file that only its owner may read, and has it on
// disk when it returns. It fails with fs.ErrExist rather than replace a file.
func CreateFile(path string, text []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			err = errors.Join(err, removeIfThere(path))
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Sync()
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
