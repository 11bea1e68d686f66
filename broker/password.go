package broker

import (
	"bufio"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Passwords are the accounts of a password file. Each line is
//
//	USER:$pbkdf2-sha256$ITERATIONS$SALT$HASH
//
// with SALT and HASH in base64 (standard alphabet, no padding), as HashPassword writes it.
// Empty lines and lines that begin with # are skipped. A user name may hold any character but
// a line break; the last colon ends it.
type Passwords struct {
	users map[string]passwordHash
	dummy passwordHash
}

type passwordHash struct {
	iterations int
	salt, hash []byte
}

// DefaultIterations is the work factor of HashPassword: about a fifth of a second of one
// processor for each Login. A lower one suits thousands of Logins at a time.
const DefaultIterations = 600_000

const passwordScheme = "$pbkdf2-sha256$"

// Bounds of what a password file may ask for, so that a damaged one does not stop the broker.
const (
	minIterations = 1
	maxIterations = 10_000_000
)

// HashPassword returns the line of a password file for an account. iterations 0 stands for
// DefaultIterations.
func HashPassword(user, password string, iterations int) (string, error) {
	if user == "" || strings.ContainsAny(user, "\r\n") || strings.HasPrefix(user, "#") {
		return "", fmt.Errorf("user name %q: it needs a character, no line break, and no # in front", user)
	}
	if iterations == 0 {
		iterations = DefaultIterations
	}
	if iterations < minIterations || iterations > maxIterations {
		return "", fmt.Errorf("%d iterations: use %d to %d", iterations, minIterations, maxIterations)
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	hash, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("hash the password of %q: %w", user, err)
	}
	enc := base64.RawStdEncoding
	return user + ":" + passwordScheme + strconv.Itoa(iterations) + "$" + enc.EncodeToString(salt) + "$" + enc.EncodeToString(hash), nil
}

// ReadPasswords reads a password file. It reports every line that it cannot read.
func ReadPasswords(r io.Reader) (*Passwords, error) {
	p := &Passwords{users: make(map[string]passwordHash)}
	var problems []error
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSuffix(scan.Text(), "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, h, err := parsePasswordLine(line)
		if err == nil {
			if _, twice := p.users[user]; twice {
				err = fmt.Errorf("user %q stands there twice", user)
			}
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		p.users[user] = h
		p.dummy.iterations = max(p.dummy.iterations, h.iterations)
	}
	if err := scan.Err(); err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("read password file: %w", errors.Join(problems...))
	}
	p.dummy.iterations = max(p.dummy.iterations, 1)
	p.dummy.salt, p.dummy.hash = make([]byte, 16), make([]byte, sha256.Size)
	return p, nil
}

func parsePasswordLine(line string) (user string, h passwordHash, err error) {
	i := strings.LastIndexByte(line, ':')
	if i <= 0 {
		return "", h, errors.New("there is no USER: in front; write USER:$pbkdf2-sha256$ITERATIONS$SALT$HASH")
	}
	user = line[:i]
	rest, ok := strings.CutPrefix(line[i+1:], passwordScheme)
	parts := strings.Split(rest, "$")
	if !ok || len(parts) != 3 {
		return "", h, fmt.Errorf("user %q: the hash is not of the form $pbkdf2-sha256$ITERATIONS$SALT$HASH", user)
	}
	if h.iterations, err = strconv.Atoi(parts[0]); err != nil || h.iterations < minIterations || h.iterations > maxIterations {
		return "", h, fmt.Errorf("user %q: the number of iterations is not one from %d to %d", user, minIterations, maxIterations)
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[1]); err != nil || len(h.salt) < 8 {
		return "", h, fmt.Errorf("user %q: the salt is not base64 of at least 8 bytes", user)
	}
	if h.hash, err = base64.RawStdEncoding.DecodeString(parts[2]); err != nil || len(h.hash) != sha256.Size {
		return "", h, fmt.Errorf("user %q: the hash is not base64 of %d bytes", user, sha256.Size)
	}
	return user, h, nil
}

// Authenticate is an Authenticator that admits the accounts of the file. Unknown users take as
// long as wrong passwords.
func (p *Passwords) Authenticate(_ context.Context, l Login) error {
	h, ok := p.users[l.Username]
	if !ok || !l.HasUsername {
		h, ok = p.dummy, false
	}
	key, err := pbkdf2.Key(sha256.New, string(l.Password), h.salt, h.iterations, sha256.Size)
	if err != nil || subtle.ConstantTimeCompare(key, h.hash) != 1 || !ok || !l.HasPassword {
		return ErrBadCredentials
	}
	return nil
}

// Len returns the number of accounts.
func (p *Passwords) Len() int { return len(p.users) }
