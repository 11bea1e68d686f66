package conformance

import (
	"errors"
	"testing"
)

// TestScramClient holds the client's side to the examples of RFC 5802 and RFC 7677.
func TestScramClient(t *testing.T) {
	for _, tc := range []struct{ method, nonce, server, want string }{
		{
			"SCRAM-SHA-1", "fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
		},
		{
			"SCRAM-SHA-256", "rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		},
	} {
		t.Run(tc.method, func(t *testing.T) {
			c := newScramClient(tc.method, "user", "pencil")
			c.nonce = tc.nonce
			if got, want := string(c.first()), "n,,n=user,r="+tc.nonce; got != want {
				t.Errorf("first message %q, want %q", got, want)
			}
			// With keys that are kept it is the same, for a password and for another one.
			other := c.anew()
			other.nonce, other.password = tc.nonce, "crayon"
			keys := new(saltedKeys)
			for range 3 {
				got, err := c.final([]byte(tc.server))
				if err != nil || string(got) != tc.want {
					t.Errorf("final message %q, %v, want %q", got, err, tc.want)
				}
				if got, err := other.final([]byte(tc.server)); err != nil || string(got) == tc.want {
					t.Errorf("final message of another password %q, %v", got, err)
				}
				c.keys, other.keys = keys, keys
			}
		})
	}
}

// TestSaltedKeysAreBounded holds that a target that uses another salt each time costs no memory.
func TestSaltedKeysAreBounded(t *testing.T) {
	keys := new(saltedKeys)
	for i := range 3 * maxSaltedKeys {
		if _, err := keys.key(scramHashes["SCRAM-SHA-256"], "pencil", []byte{byte(i), byte(i >> 8)}, 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(keys.keys) > maxSaltedKeys {
		t.Errorf("%d keys are kept", len(keys.keys))
	}
}

// TestScramClientRefuses holds that the client answers no server that did not read its message,
// and does no boundless work.
func TestScramClientRefuses(t *testing.T) {
	c := newScramClient("SCRAM-SHA-256", "a=b,c", "pencil")
	if got, want := c.bare(), "n=a=3Db=2Cc,r="+c.nonce; got != want {
		t.Errorf("user name sent as %q, want %q", got, want)
	}
	for _, server := range []string{
		"", "r=another,s=QSXCR+Q6sek8bf92,i=4096", "r=" + c.nonce + ",s=QSXCR+Q6sek8bf92,i=4096",
		"r=" + c.nonce + "x,s=?,i=4096", "r=" + c.nonce + "x,s=QSXCR+Q6sek8bf92,i=0",
	} {
		if _, err := c.final([]byte(server)); !errors.Is(err, errScram) {
			t.Errorf("%q: %v, want %v", server, err, errScram)
		}
	}
	if _, err := c.final([]byte("r=" + c.nonce + "x,s=QSXCR+Q6sek8bf92,i=2000000000")); err == nil {
		t.Error("two thousand million iterations were done")
	}
}
