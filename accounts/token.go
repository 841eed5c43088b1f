package accounts

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// The prefixes tell a found token's kind, and secret scanners what it is.
const (
	accessPrefix  = "eat_"
	refreshPrefix = "ert_"
)

// newToken makes a token of 256 random bits and its hash. Only the hash is
// stored; a token has too much entropy to be guessed from it.
func newToken(prefix string) (token string, hash []byte) {
	var b [32]byte
	rand.Read(b[:]) // never fails
	token = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(token))
	return token, sum[:]
}

// randomName is a random string of letters and digits in lower case, of 5 bits
// a letter.
func randomName(n int) string { return strings.ToLower(rand.Text()[:n]) }

// randomDevice is a device ID for a client that did not name one.
func randomDevice() string { return rand.Text()[:10] }
