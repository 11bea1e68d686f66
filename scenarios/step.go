package scenarios

import (
	"bytes"
	"encoding/hex"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/mqlab/mqlab/codec"
)

// SendStep returns the step that sends the frame: in fields where they give the same bytes, else
// as bytes. User names and passwords that cfg knows are replaced by their placeholders.
func SendStep(frame []byte, version codec.Version, cfg RunConfig) Step {
	d := codec.Decoder{Version: version, From: codec.Client}
	q, err := d.Decode(frame)
	if err == nil {
		p := PacketOf(codec.Clone(q))
		p.hide(cfg)
		if p.Reason != nil && *p.Reason == "0x00" {
			p.Reason = nil
		}
		if b, ok := p.survives(version, cfg); ok && bytes.Equal(b, frame) && !p.tells(cfg) {
			return Step{Send: p}
		}
	}
	return Step{SendHex: hexOf(frame, cfg)}
}

// hide puts placeholders in place of credentials.
func (p *Packet) hide(cfg RunConfig) {
	if p.Username != nil {
		for _, s := range []struct{ text, place string }{{cfg.Username, placeUsername}, {cfg.BadUsername, placeBadUsername}} {
			if s.text != "" && *p.Username == s.text {
				p.Username = &s.place
				break
			}
		}
	}
	if p.Password != nil {
		raw, _ := p.Password.bytes()
		for _, s := range []struct {
			text  string
			place Bytes
		}{{cfg.Password, placePassword}, {cfg.BadPassword, placeBadPassword}} {
			if s.text != "" && string(raw) == s.text {
				p.Password = &s.place
				break
			}
		}
	}
}

// tells reports whether a password shows in the packet all the same.
func (p *Packet) tells(cfg RunConfig) bool {
	text, _ := yaml.Marshal(p)
	for _, secret := range []string{cfg.Password, cfg.BadPassword} {
		if secret != "" && (bytes.Contains(text, []byte(secret)) || bytes.Contains(text, []byte(hex.EncodeToString([]byte(secret))))) {
			return true
		}
	}
	return false
}

// survives writes the packet to a file's text and back, and returns its bytes.
func (p *Packet) survives(version codec.Version, cfg RunConfig) ([]byte, bool) {
	back, ok := p.reread()
	if !ok {
		return nil, false
	}
	out, err := back.packet(&values{cfg: &cfg}, version)
	if err != nil {
		return nil, false
	}
	b, err := out.AppendTo(nil, version)
	return b, err == nil
}

func (p *Packet) reread() (*Packet, bool) {
	text, err := yaml.Marshal(p)
	if err != nil {
		return nil, false
	}
	back := new(Packet)
	if err := yaml.UnmarshalWithOptions(text, back, yaml.Strict()); err != nil {
		return nil, false
	}
	again, err := yaml.Marshal(back)
	return back, err == nil && bytes.Equal(text, again)
}

// Describes reports whether the packet, as an expectation in a file, takes a frame of the version.
func (p *Packet) Describes(frame []byte, version codec.Version) bool {
	back, ok := p.reread()
	if !ok {
		return false
	}
	d := codec.Decoder{Version: version, From: codec.Server, Mode: codec.Lenient}
	q, err := d.Decode(frame)
	return back.mismatch(frame, q, err != nil, &values{cfg: &RunConfig{}}, version) == ""
}

// hexOf writes bytes in groups, with placeholders for passwords.
func hexOf(b []byte, cfg RunConfig) string {
	var words []string
	for len(b) > 0 {
		at, place, size := len(b), "", 0
		for _, s := range []struct{ text, place string }{{cfg.Password, placePassword}, {cfg.BadPassword, placeBadPassword}} {
			if i := bytes.Index(b, []byte(s.text)); s.text != "" && i >= 0 && i < at {
				at, place, size = i, s.place, len(s.text)
			}
		}
		for i := 0; i < at; i += 16 {
			words = append(words, hex.EncodeToString(b[i:min(i+16, at)]))
		}
		if place != "" {
			words = append(words, place)
		}
		b = b[at+size:]
	}
	return strings.Join(words, " ")
}
