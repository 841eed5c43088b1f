package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodKey = "ed25519 a_1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n"

func TestASigningKeyIsMadeOnceAndReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	made, err := CreateSigningKey(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	read, err := ReadSigningKey(path)
	if err != nil || read.ID != made.ID || !bytes.Equal(read.Private, made.Private) {
		t.Errorf("read %v, made %v, %v", read, made, err)
	}
	if _, err := CreateSigningKey(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second key replaces the first: %v", err)
	}
	if text := sprint("%v %+v %#v", made, made, made); strings.Contains(text, "[") {
		t.Errorf("a key shows in %s", text)
	}
}

func TestAKeyThatOthersMayReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "signing.key", goodKey)
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o666: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadSigningKey(path)
		if (err == nil) != ok {
			t.Errorf("mode %o: %v", mode, err)
		}
		if err != nil && !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("the error has no remedy: %v", err)
		}
	}
	// The check of the whole configuration finds it too.
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Parse(filepath.Join(dir, "x.yaml"), []byte("server_name: a\nsigning: {key_file: signing.key}"))
	if err == nil || !strings.Contains(err.Error(), "signing.key_file") {
		t.Errorf("the configuration passes: %v", err)
	}
}

func TestSigningKeysOfOtherServersAreRead(t *testing.T) {
	key, err := ParseSigningKey(goodKey)
	if err != nil || key.ID != "ed25519:a_1" || len(key.Private) != 64 {
		t.Errorf("got %v, %v", key, err)
	}
	padded, err := ParseSigningKey(strings.TrimSpace(goodKey) + "=")
	if err != nil || !bytes.Equal(padded.Private, key.Private) {
		t.Errorf("padding: %v, %v", padded, err)
	}
	for _, text := range []string{"", "ed25519", "rsa 1 x", "ed25519 a-b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
		"ed25519 1 short", "ed25519 1 !!!", goodKey + goodKey} {
		if _, err := ParseSigningKey(text); err == nil || strings.Contains(err.Error(), "YJDB") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseSigningKey(f *testing.F) {
	f.Add(goodKey)
	f.Add("ed25519 1 AA==")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := ParseSigningKey(text); (err == nil) != (len(key.Private) == 64) {
			t.Errorf("%q gave %v, %v", text, key, err)
		}
	})
}
