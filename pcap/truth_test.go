package pcap_test

import (
	"crypto/sha1"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/pcap"
)

// capturesDir is the folder with captures and their truth files, which are not part of the project.
func capturesDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("MQLAB_CAPTURES")
	if dir == "" {
		t.Skip("MQLAB_CAPTURES does not name a folder with captures")
	}
	return dir
}

func captures(t testing.TB) []string {
	t.Helper()
	dir := capturesDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "truth", "*.tsv"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no truth files below %s: %v", dir, err)
	}
	var out []string
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".tsv")
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// dissect runs a whole capture through a Dissector.
func dissect(t testing.TB, file string, cfg pcap.Config) pcap.Summary {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := pcap.NewDissector(cfg)
	if err := d.Read(f); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return d.Summary()
}

// truthColumns are the columns of a truth file that are compared.
var truthColumns = []string{
	"frame", "stream", "src", "dst", "sport", "dport", "type", "dup", "qos", "retain", "remlen", "msgid",
	"topic", "payload_len", "payload_sha1", "reason", "props", "conn", "subs",
}

func readTruth(t testing.TB, file string) []map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, text2, _ := strings.Cut(string(text), "\n")
	r := csv.NewReader(strings.NewReader(text2))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, name := range rows[0] {
			if i < len(row) {
				m[name] = row[i]
			}
		}
		out = append(out, m)
	}
	return out
}

// truthRow writes a packet as the truth files do.
func truthRow(p *pcap.Packet) map[string]string {
	m := map[string]string{}
	for _, name := range truthColumns {
		m[name] = ""
	}
	from, to := p.Stream.Client, p.Stream.Server
	if p.From == codec.Server {
		from, to = to, from
	}
	h, _, _ := codec.ParseHeader(p.Raw)
	m["frame"], m["stream"] = strconv.Itoa(p.Frame), strconv.Itoa(p.Stream.ID)
	m["src"], m["sport"] = from.Addr().String(), strconv.Itoa(int(from.Port()))
	m["dst"], m["dport"] = to.Addr().String(), strconv.Itoa(int(to.Port()))
	m["type"], m["remlen"] = strconv.Itoa(int(p.Type)), strconv.Itoa(h.Remaining)
	reason := func(r codec.ReasonCode) { m["reason"] = strconv.Itoa(int(r)) }
	id := func(n uint16) { m["msgid"] = strconv.Itoa(int(n)) }
	ack := func(n uint16, r codec.ReasonCode, props *codec.Properties, min int) {
		id(n)
		if h.Remaining > min {
			reason(r)
		}
		m["props"] = truthProps(props)
	}
	switch q := p.MQTT.(type) {
	case *codec.Connect:
		name, level := "MQTT", 0
		if q.Version == codec.V31 {
			name = "MQIsdp"
		}
		level = int(q.Version)
		if q.ProtocolName != "" {
			name, level = q.ProtocolName, int(q.Level)
		}
		flags := byte(0)
		for _, f := range codec.AppendFields(nil, p.Raw, p.Version) {
			if f.Name == codec.FieldConnectFlags {
				flags = p.Raw[f.Offset]
			}
		}
		s := fmt.Sprintf("proto=%s ver=%d flags=0x%02x ka=%d", name, level, flags, q.KeepAlive)
		s += " cid=" + q.ClientID
		if q.HasWill {
			s += " willtopic=" + q.Will.Topic
		}
		if q.HasUsername {
			s += " user=" + q.Username
		}
		if q.HasPassword {
			s += " pass=" + string(q.Password)
		}
		if q.HasWill {
			s += " willmsg=" + hex.EncodeToString(q.Will.Payload)
		}
		m["conn"] = s
		m["props"] = truthProps(&q.Props)
		if w := truthProps(&q.Will.Props); w != "" {
			m["props"] = strings.TrimSpace(m["props"] + " WILL:" + w)
		}
	case *codec.Connack:
		if p.Version != codec.V31 {
			m["conn"] = "sp=0"
			if q.SessionPresent {
				m["conn"] = "sp=1"
			}
		}
		reason(q.Reason)
		m["props"] = truthProps(&q.Props)
	case *codec.Publish:
		m["dup"], m["retain"] = strconv.Itoa(int(p.Flags>>3)), strconv.Itoa(int(p.Flags&1))
		m["qos"] = strconv.Itoa(int(p.Flags >> 1 & 3))
		if p.Flags&6 != 0 {
			id(q.PacketID)
		}
		m["topic"] = p.Topic
		m["payload_len"] = strconv.Itoa(len(q.Payload) + p.Missing)
		m["payload_sha1"] = fmt.Sprintf("%x", sha1.Sum(q.Payload))[:16]
		m["props"] = truthProps(&q.Props)
	case *codec.Puback:
		ack(q.PacketID, q.Reason, &q.Props, 2)
	case *codec.Pubrec:
		ack(q.PacketID, q.Reason, &q.Props, 2)
	case *codec.Pubrel:
		ack(q.PacketID, q.Reason, &q.Props, 2)
	case *codec.Pubcomp:
		ack(q.PacketID, q.Reason, &q.Props, 2)
	case *codec.Subscribe:
		id(q.PacketID)
		var list []string
		for _, f := range q.Filters {
			list = append(list, fmt.Sprintf("%s:%d", f.Filter, f.QoS))
		}
		m["subs"] = strings.Join(list, ";")
		m["props"] = truthProps(&q.Props)
	case *codec.Unsubscribe:
		id(q.PacketID)
		m["subs"] = strings.Join(q.Filters, ";")
		m["props"] = truthProps(&q.Props)
	case *codec.Suback:
		id(q.PacketID)
		m["reason"] = truthReasons(q.Reasons)
		m["props"] = truthProps(&q.Props)
	case *codec.Unsuback:
		id(q.PacketID)
		m["reason"] = truthReasons(q.Reasons)
		m["props"] = truthProps(&q.Props)
	case *codec.Disconnect:
		if h.Remaining > 0 {
			reason(q.Reason)
		}
		m["props"] = truthProps(&q.Props)
	case *codec.Auth:
		if h.Remaining > 0 {
			reason(q.Reason)
		}
		m["props"] = truthProps(&q.Props)
	}
	for k, v := range m { // packets are borrowed
		m[k] = strings.Clone(v)
	}
	return m
}

func truthReasons(list []codec.ReasonCode) string {
	var out []string
	for _, r := range list {
		out = append(out, strconv.Itoa(int(r)))
	}
	return strings.Join(out, ",")
}

func truthProps(props *codec.Properties) string {
	var out []string
	for pr := range props.All() {
		value := strconv.Itoa(int(pr.Int))
		switch pr.ID.Info().Kind {
		case codec.KindString:
			value = string(pr.Value)
		case codec.KindBinary:
			value = "" // what is no text is left out
			if !strings.ContainsFunc(string(pr.Value), unicode.IsControl) && utf8.Valid(pr.Value) {
				value = string(pr.Value)
			}
		case codec.KindPair:
			value = pr.Key + "|" + string(pr.Value)
		}
		out = append(out, fmt.Sprintf("%d=%s", pr.ID, value))
	}
	return strings.Join(out, ";")
}

func TestAgreesWithTruth(t *testing.T) {
	agreed := 0
	for _, name := range captures(t) {
		t.Run(name, func(t *testing.T) {
			dir := capturesDir(t)
			want := readTruth(t, filepath.Join(dir, "truth", name+".tsv"))
			cfg := truthConfig(t, dir, name)
			var got []map[string]string
			cfg.Packet = func(p *pcap.Packet) error {
				got = append(got, truthRow(p))
				return nil
			}
			dissect(t, filepath.Join(dir, name), cfg)
			n := compareTruth(t, name, want, got)
			agreed += n
			t.Logf("%d of %d rows agree", n, len(want))
		})
	}
	t.Logf("%d rows agree", agreed)
}

func truthConfig(t testing.TB, dir, name string) pcap.Config {
	t.Helper()
	cfg := pcap.Config{Keys: new(pcap.KeyLog)}
	stem, _, _ := strings.Cut(name, ".")
	if keys, err := os.ReadFile(filepath.Join(dir, stem+".keylog")); err == nil {
		cfg.Keys.Add(keys)
	}
	return cfg
}

// better names rows that the truth file lacks and that are right all the same: file, frame, type.
var better = map[string]string{
	// The CONNECT was not captured. tshark waits for it and shows nothing of what the client sends.
	"suri_events-missing-connect.pcap 22 8":  "SUBSCRIBE after the lost CONNECT",
	"suri_events-missing-connect.pcap 26 8":  "SUBSCRIBE after the lost CONNECT",
	"suri_events-missing-connect.pcap 30 3":  "PUBLISH after the lost CONNECT",
	"suri_events-missing-connect.pcap 32 3":  "PUBLISH after the lost CONNECT",
	"suri_events-missing-connect.pcap 38 6":  "PUBREL after the lost CONNECT",
	"suri_events-missing-connect.pcap 40 6":  "PUBREL after the lost CONNECT",
	"suri_events-missing-connect.pcap 44 4":  "PUBACK after the lost CONNECT",
	"suri_events-missing-connect.pcap 61 14": "DISCONNECT after the lost CONNECT",
}

// compareTruth counts the rows that agree and reports the others.
func compareTruth(t *testing.T, name string, want, got []map[string]string) int {
	t.Helper()
	n, shown := 0, 0
	got = slices.DeleteFunc(got, func(m map[string]string) bool { return better[name+" "+m["frame"]+" "+m["type"]] != "" })
	for i := range max(len(want), len(got)) {
		if i >= len(want) {
			t.Errorf("row %d is not in the truth: %v", i+1, got[i])
		} else if i >= len(got) {
			t.Errorf("row %d is missing: %v", i+1, want[i])
		} else {
			w := map[string]string{}
			for _, c := range truthColumns {
				w[c] = want[i][c]
			}
			diff := cmp.Diff(w, got[i])
			if diff == "" {
				n++
				continue
			}
			t.Errorf("row %d (-truth +got):\n%s", i+1, diff)
		}
		if shown++; shown == 3 {
			t.Fatalf("%d rows, want %d", len(got), len(want))
		}
	}
	return n
}
