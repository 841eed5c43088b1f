package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"

	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// maxVerifications bounds the work that one third-party invite can cause: two
// events of 64 KiB could otherwise name half a million pairs of a signature
// and a key. Real invites have one of each, or two.
const maxVerifications = 64

// thirdPartyInvite has the rules on an invite that follows up on an invitation
// to somebody outside Matrix. The target is known not to be banned.
//
// Spec: client-server-api/#third-party-invites, rooms/v1/#authorisation-rules
func (c *check) thirdPartyInvite(target string, invite event.Value) error {
	const section = ruleInvite + ".1"
	signed := invite.Get("signed")
	if signed == nil {
		return c.refuse(section+".2", "the third-party invite is not signed")
	}
	mxid, hasID := signed.Get("mxid").Str()
	token, hasToken := signed.Get("token").Str()
	if !hasID || !hasToken {
		return c.refuse(section+".3", "the third-party invite has no mxid or no token")
	}
	if mxid != target {
		return c.refuse(section+".4", "the third-party invite is for %s, not for %s", mxid, target)
	}
	origin, err := c.state(event.Key{Type: typeThirdPartyInvite, StateKey: token})
	if err != nil {
		return err
	}
	if origin == nil {
		return c.refuse(section+".5", "the room has no third-party invite with this token")
	}
	if origin.Sender() != c.ev.Sender() {
		return c.refuse(section+".6", "the third-party invite is by %s, not by %s", origin.Sender(), c.ev.Sender())
	}
	if !signedByAny(signed, inviteKeys(event.Value(origin.Content()))) {
		return c.refuse(section+".8", "no key of the third-party invite has signed it")
	}
	return nil
}

// inviteKeys are the keys that a third-party invite event publishes, those
// that are no Ed25519 keys left out.
//
// Spec: client-server-api/#mroomthird_party_invite
func inviteKeys(content event.Value) []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	add := func(v event.Value) {
		if text, ok := v.Str(); ok && len(keys) < maxVerifications {
			if key := decodeBase64(text); len(key) == ed25519.PublicKeySize {
				keys = append(keys, key)
			}
		}
	}
	add(content.Get("public_key"))
	for entry := range content.Get("public_keys").Elements() {
		add(entry.Get("public_key"))
	}
	return keys
}

// signedByAny reports whether any of the signatures within the object signed
// is by any of the keys.
func signedByAny(signed event.Value, keys []ed25519.PublicKey) bool {
	tries := 0
	for server, signatures := range signed.Get("signatures").Members() {
		for keyID := range signatures.Members() {
			if !strings.HasPrefix(keyID, "ed25519:") {
				continue
			}
			for _, key := range keys {
				if tries++; tries > maxVerifications {
					return false
				}
				if event.VerifyJSON(signed, server, id.KeyID(keyID), key) == nil {
					return true
				}
			}
		}
	}
	return false
}

// decodeBase64 takes the standard and the URL-safe alphabet, padded or not.
//
// Spec: appendices/#unpadded-base64
func decodeBase64(s string) []byte {
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	b, err := encoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil
	}
	return b
}
