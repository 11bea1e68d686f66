package scenarios

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// values is what a run puts in for placeholders and references.
type values struct {
	cfg    *RunConfig
	unique string // the text that the file writes
	run    string // what stands in its place in this run
	conns  map[string]*conn
}

// fresh replaces the file's unique text by the run's.
func (v *values) fresh(b []byte) []byte {
	if v.unique == "" {
		return b
	}
	return bytes.ReplaceAll(b, []byte(v.unique), []byte(v.run))
}

func (v *values) freshText(s string) string {
	if v.unique == "" {
		return s
	}
	return strings.ReplaceAll(s, v.unique, v.run)
}

// The placeholders of user names and passwords.
const (
	placeUsername    = "$username"
	placePassword    = "$password"
	placeBadUsername = "$bad_username"
	placeBadPassword = "$bad_password"
)

// secret returns the text that a user name or password stands for. present is false for a
// placeholder that the run was not given: the field is left out.
func (v *values) secret(s string) (text string, present bool) {
	switch s {
	case placeUsername:
		return v.cfg.Username, v.cfg.Username != ""
	case placePassword:
		return v.cfg.Password, v.cfg.Password != ""
	case placeBadUsername:
		return v.cfg.BadUsername, v.cfg.BadUsername != ""
	case placeBadPassword:
		return v.cfg.BadPassword, v.cfg.BadPassword != ""
	}
	return v.freshText(s), true
}

// raw returns the bytes of a send_hex.
func (v *values) raw(s string) ([]byte, error) {
	var out []byte
	for _, word := range strings.Fields(s) {
		if strings.HasPrefix(word, "$") {
			text, _ := v.secret(word)
			out = append(out, text...)
			continue
		}
		b, err := parseHex(word)
		if err != nil {
			return nil, err
		}
		out = append(out, v.fresh(b)...)
	}
	// The unique text may stand across words.
	return v.fresh(out), nil
}

// reference is $conn.type.number taken apart.
type reference struct {
	conn   string
	typ    codec.Type
	number int
}

func parseReference(s string) (reference, error) {
	parts := strings.Split(strings.TrimPrefix(s, "$"), ".")
	if len(parts) != 3 || !strings.HasPrefix(s, "$") {
		return reference{}, fmt.Errorf("%q is not a reference: write $CONNECTION.TYPE.NUMBER, such as $c1.publish.1", s)
	}
	typ := types[parts[1]]
	n, err := strconv.Atoi(parts[2])
	if typ == 0 || err != nil || n < 1 {
		return reference{}, fmt.Errorf("%q is not a reference: write $CONNECTION.TYPE.NUMBER, such as $c1.publish.1", s)
	}
	return reference{parts[0], typ, n}, nil
}

// id returns the number that a Packet Identifier stands for.
func (v *values) id(id ID) (uint16, error) {
	if !strings.HasPrefix(string(id), "$") {
		n, err := strconv.ParseUint(string(id), 0, 16)
		return uint16(n), err
	}
	r, err := parseReference(string(id))
	if err != nil {
		return 0, err
	}
	c := v.conns[r.conn]
	if c == nil {
		return 0, fmt.Errorf("%s: there is no connection %s", id, r.conn)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ids[r.typ]) < r.number {
		return 0, fmt.Errorf("%s: only %d packets of the type with a Packet Identifier have arrived", id, len(c.ids[r.typ]))
	}
	return c.ids[r.typ][r.number-1], nil
}

// clientID returns the Client Identifier, which may be a reference to an assigned one.
func (v *values) clientID(s string) (string, error) {
	r, err := parseReference(s)
	if err != nil || r.typ != codec.TypeConnack {
		return v.freshText(s), nil
	}
	c := v.conns[r.conn]
	if c == nil {
		return "", fmt.Errorf("%s: there is no connection %s", s, r.conn)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.assigned) < r.number {
		return "", fmt.Errorf("%s: no such CONNACK with an Assigned Client Identifier has arrived", s)
	}
	return c.assigned[r.number-1], nil
}
