package broker

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ScramName is the Authentication Method of SCRAM with SHA-256 (RFC 7677).
const ScramName = "SCRAM-SHA-256"

// ScramCredentials is what a server stores of one account: enough to check a proof, not enough
// to log in (RFC 5802, section 3).
type ScramCredentials struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// scramIterations is the least that RFC 7677 allows.
const scramIterations = 4096

// NewScramCredentials derives the credentials of a password with a random salt. iterations 0
// stands for 4,096, the least that RFC 7677 allows. The password is taken byte by byte,
// without the SASLprep normalization, which leaves ASCII as it is.
func NewScramCredentials(password string, iterations int) (ScramCredentials, error) {
	if iterations == 0 {
		iterations = scramIterations
	}
	if iterations < scramIterations || iterations > maxIterations {
		return ScramCredentials{}, fmt.Errorf("%d iterations: use %d to %d", iterations, scramIterations, maxIterations)
	}
	c := ScramCredentials{Salt: make([]byte, 16), Iterations: iterations}
	_, _ = rand.Read(c.Salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, c.Salt, iterations, sha256.Size)
	if err != nil {
		return ScramCredentials{}, fmt.Errorf("derive SCRAM credentials: %w", err)
	}
	client := mac(salted, "Client Key")
	stored := sha256.Sum256(client)
	c.StoredKey, c.ServerKey = stored[:], mac(salted, "Server Key")
	return c, nil
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// ScramSHA256 is the AuthMethod SCRAM-SHA-256 over the accounts that lookup knows. lookup is
// called concurrently.
func ScramSHA256(lookup func(user string) (ScramCredentials, bool)) AuthMethod {
	m := &scram{lookup: lookup, secret: make([]byte, sha256.Size)}
	_, _ = rand.Read(m.secret)
	return m
}

type scram struct {
	lookup func(string) (ScramCredentials, bool)
	secret []byte // makes salts for users that do not exist, the same each time
}

func (*scram) Name() string { return ScramName }

func (m *scram) Begin(Login) AuthExchange { return &scramExchange{m: m} }

// scramExchange is the server's side of one exchange: client-first, server-first,
// client-final, server-final.
type scramExchange struct {
	m           *scram
	step        int
	user        string
	known       bool
	cred        ScramCredentials
	header      string // gs2-header of the first message
	nonce       string
	clientFirst string // bare
	serverFirst string
}

func (x *scramExchange) Username() string { return x.user }

var errScram = errors.New("not a SCRAM message")

func (x *scramExchange) Step(_ context.Context, data []byte) ([]byte, bool, error) {
	x.step++
	switch x.step {
	case 1:
		reply, err := x.first(string(data))
		return reply, false, err
	case 2:
		reply, err := x.final(string(data))
		return reply, err == nil, err
	}
	return nil, false, errScram
}

// first takes "n,,n=user,r=nonce".
func (x *scramExchange) first(msg string) ([]byte, error) {
	flag, rest, ok := strings.Cut(msg, ",")
	if !ok || flag != "n" && flag != "y" { // no channel binding is on offer
		return nil, errScram
	}
	authzid, bare, ok := strings.Cut(rest, ",")
	if !ok || authzid != "" && !strings.HasPrefix(authzid, "a=") {
		return nil, errScram
	}
	x.header = msg[:len(msg)-len(bare)]
	x.clientFirst = bare
	fields := strings.Split(bare, ",")
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "n=") || !strings.HasPrefix(fields[1], "r=") || len(fields[1]) < 3 {
		return nil, errScram
	}
	if x.user, ok = scramName(fields[0][2:]); !ok {
		return nil, errScram
	}
	if x.cred, x.known = x.m.lookup(x.user); !x.known {
		// An unknown user fails in the last step, like a wrong password.
		x.cred = ScramCredentials{Salt: mac(x.m.secret, x.user)[:16], Iterations: scramIterations}
	}
	x.nonce = fields[1][2:] + rand.Text()
	x.serverFirst = "r=" + x.nonce + ",s=" + base64.StdEncoding.EncodeToString(x.cred.Salt) + ",i=" + strconv.Itoa(x.cred.Iterations)
	return []byte(x.serverFirst), nil
}

// final takes "c=header,r=nonce,p=proof".
func (x *scramExchange) final(msg string) ([]byte, error) {
	i := strings.LastIndex(msg, ",p=")
	if i < 0 {
		return nil, errScram
	}
	without := msg[:i]
	proof, err := base64.StdEncoding.DecodeString(msg[i+3:])
	if err != nil || len(proof) != sha256.Size {
		return nil, errScram
	}
	want := "c=" + base64.StdEncoding.EncodeToString([]byte(x.header)) + ",r=" + x.nonce
	if without != want && !strings.HasPrefix(without, want+",") {
		return nil, errScram
	}
	auth := x.clientFirst + "," + x.serverFirst + "," + without
	signature := mac(x.cred.StoredKey, auth)
	key := make([]byte, sha256.Size)
	for i := range key {
		key[i] = proof[i] ^ signature[i]
	}
	sum := sha256.Sum256(key)
	if !hmac.Equal(sum[:], x.cred.StoredKey) || !x.known {
		return nil, ErrBadCredentials
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(mac(x.cred.ServerKey, auth))), nil
}

// scramName undoes the escapes of a user name.
func scramName(s string) (string, bool) {
	if !strings.Contains(s, "=") {
		return s, s != ""
	}
	out := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	// Every = in the original has to begin one of the two escapes.
	ok := strings.Count(s, "=") == strings.Count(s, "=2C")+strings.Count(s, "=3D")
	return out, ok
}
