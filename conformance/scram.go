package conformance

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what some targets speak
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// scramHashes are the methods of enhanced authentication that the suite speaks (RFC 5802, RFC 7677).
var scramHashes = map[string]func() hash.Hash{
	"SCRAM-SHA-1":   sha1.New,
	"SCRAM-SHA-256": sha256.New,
	"SCRAM-SHA-512": sha512.New,
}

// maxScramIterations bounds the work that a target can ask for.
const maxScramIterations = 1_000_000

// scramClient is the client's side of one SCRAM exchange.
type scramClient struct {
	hash           func() hash.Hash
	user, password string
	nonce          string
	keys           *saltedKeys // nil: each exchange derives its own
}

func newScramClient(method, user, password string) *scramClient {
	return &scramClient{hash: scramHashes[method], user: user, password: password, nonce: rand.Text()}
}

// anew returns the client of another exchange of the same user.
func (s *scramClient) anew() *scramClient {
	c := *s
	c.nonce = rand.Text()
	return &c
}

// saltedKeys are the keys that were derived from passwords. To derive one is meant to be slow, the
// target waits meanwhile, and most checks log in with the same password and salt.
type saltedKeys struct {
	mu   sync.Mutex // guards keys
	keys map[string]func() ([]byte, error)
}

func (k *saltedKeys) key(h func() hash.Hash, password string, salt []byte, iterations int) ([]byte, error) {
	derive := func() ([]byte, error) { return pbkdf2.Key(h, password, salt, iterations, h().Size()) }
	if k == nil {
		return derive()
	}
	name := fmt.Sprintf("%d %d %q %q", h().Size(), iterations, salt, password)
	k.mu.Lock()
	once, ok := k.keys[name]
	if !ok {
		if k.keys == nil || len(k.keys) >= maxSaltedKeys {
			k.keys = map[string]func() ([]byte, error){}
		}
		once = sync.OnceValues(derive)
		k.keys[name] = once
	}
	k.mu.Unlock()
	return once()
}

const maxSaltedKeys = 100 // a target may use another salt each time

// bare returns the client's first message without its header.
func (s *scramClient) bare() string {
	return "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.user) + ",r=" + s.nonce
}

// first returns the client's first message.
func (s *scramClient) first() []byte { return []byte("n,," + s.bare()) }

var errScram = errors.New("not the first message of a SCRAM server")

// final returns the client's final message, which answers the server's first.
func (s *scramClient) final(serverFirst []byte) ([]byte, error) {
	var nonce, salt string
	iterations := 0
	for f := range strings.SplitSeq(string(serverFirst), ",") {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "r":
			nonce = value
		case "s":
			salt = value
		case "i":
			iterations, _ = strconv.Atoi(value)
		}
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	switch {
	case err != nil || !strings.HasPrefix(nonce, s.nonce) || len(nonce) == len(s.nonce) || iterations < 1:
		return nil, fmt.Errorf("%w: %q", errScram, serverFirst)
	case iterations > maxScramIterations:
		return nil, fmt.Errorf("%d iterations are more than the %d that the suite is willing to do", iterations, maxScramIterations)
	}
	salted, err := s.keys.key(s.hash, s.password, raw, iterations)
	if err != nil {
		return nil, err
	}
	mac := func(key []byte, text string) []byte {
		m := hmac.New(s.hash, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	without := "c=biws,r=" + nonce // biws is the header of the first message
	key := mac(salted, "Client Key")
	stored := s.hash()
	stored.Write(key)
	signature := mac(stored.Sum(nil), s.bare()+","+string(serverFirst)+","+without)
	for i := range key {
		key[i] ^= signature[i]
	}
	return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(key)), nil
}
