package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/pcap"
)

func pcapStatsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "stats",
		Usage: "count clients, topics and the times of exchanges",
		Description: describe(`Shows who the clients were and how each connection ended, which topics carried what, and how long
			answers took: from PUBLISH to PUBACK, PUBREC and PUBCOMP, and from a request to its answer. The format
			html is one page with plots that needs nothing beside itself.`,
			"mqlab pcap stats capture.pcapng",
			"mqlab pcap stats --format html --output stats.html capture.pcapng"),
		ArgsUsage: "FILE...",
		Flags: append(pcapInput(), formatFlag("text", "json", "html"), outputFlag(),
			&cli.IntFlag{Name: "rows", Value: 20, Usage: "show at most `N` clients and topics in the format text; 0 for all"}),
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "json", "html")
			if err != nil {
				return err
			}
			cfg, unread, err := pcapConfig(c)
			if err != nil {
				return err
			}
			files, err := captureArgs(c)
			if err != nil {
				return err
			}
			s := pcap.NewStats()
			cfg.Packet, cfg.Gap, cfg.End = s.Packet, s.Gap, s.End
			d := pcap.NewDissector(cfg)
			rerr := e.readCaptures(d, files)
			if rerr != nil && d.Summary().Frames == 0 {
				return rerr
			}
			rep := s.Report(d.Summary())
			err = e.writeResult(c.String("output"), func(out output) error {
				switch format {
				case "json":
					return writeJSON(out, rep)
				case "html":
					return rep.WriteHTML(out, "MQTT in "+filepath.Base(files[0]))
				}
				_, err := fmt.Fprint(out, statsText(out.ui, out.width, rep, c.Int("rows")))
				return err
			})
			if err != nil {
				return err
			}
			e.pcapRemarks(d.Summary(), unread)
			return rerr
		},
	}
}

// statsText is the report for a terminal.
func statsText(u *ui.UI, width int, r *pcap.Report, rows int) string {
	var b strings.Builder
	s := r.Summary
	fmt.Fprintf(&b, "%s frames in %s, %s MQTT packets on %s\n", ui.Count(s.Frames),
		ui.Duration(time.Duration(s.Last-s.First)), ui.Count(s.Packets), streams(s.MQTT))
	fmt.Fprintf(&b, "PUBLISH: QoS 0 %s, QoS 1 %s, QoS 2 %s; DUP %s, RETAIN %s\n", ui.Count(r.QoS[0]), ui.Count(r.QoS[1]), ui.Count(r.QoS[2]),
		ui.Count(r.Duplicates), ui.Count(r.Retained))
	fmt.Fprintf(&b, "retransmitted segments %s, gaps %s with %s not captured, packets with faults %s\n",
		ui.Count(s.Repeated), ui.Count(s.Gaps), ui.Bytes(s.Lost), ui.Count(r.Faulty))

	var types [][]string
	for name, n := range r.Types {
		types = append(types, []string{name, ui.Count(n)})
	}
	slices.SortFunc(types, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	fmt.Fprintf(&b, "\n%s\n%s", u.Heading("Packets"), u.Table(width, []ui.Column{{Title: "TYPE"}, {Title: "PACKETS", Right: true}}, types))

	if len(r.Latencies) > 0 {
		var list [][]string
		took := func(ns int64) string { return ui.Duration(time.Duration(ns)) }
		for _, l := range r.Latencies {
			list = append(list, []string{
				l.Name, ui.Count(l.Count), ui.Count(l.Unanswered), took(l.Min), took(l.P50), took(l.P90), took(l.P99), took(l.Max),
			})
		}
		fmt.Fprintf(&b, "\n%s\n%s", u.Heading("Times of exchanges"), u.Table(width, []ui.Column{
			{Title: "EXCHANGE", Flex: true},
			{Title: "COUNT", Right: true},
			{Title: "UNANSWERED", Right: true},
			{Title: "MIN", Right: true},
			{Title: "50 %", Right: true},
			{Title: "90 %", Right: true},
			{Title: "99 %", Right: true},
			{Title: "MAX", Right: true},
		}, list))
	}

	shown := func(n int) int {
		if rows <= 0 {
			return n
		}
		return min(n, rows)
	}
	var list [][]string
	for _, c := range r.Clients[:shown(len(r.Clients))] {
		session := "kept"
		if c.CleanStart {
			session = "clean"
		}
		if c.Session {
			session += ", present"
		}
		name := ui.Printable(c.ID)
		if name == "" {
			name = c.Address
		}
		list = append(list, []string{
			name, c.Version, fmt.Sprintf("%d s", c.KeepAlive), session, ui.Count(int64(c.Connections)), c.Result,
			ui.Count(c.Sent), ui.Count(c.Received), ui.Bytes(c.SentBytes + c.RecvBytes), ui.Printable(c.WillTopic), c.End,
		})
	}
	fmt.Fprintf(&b, "\n%s\n%s", u.Heading(more("Clients", len(list), len(r.Clients))), u.Table(width, []ui.Column{
		{Title: "CLIENT", Flex: true},
		{Title: "MQTT"},
		{Title: "KEEP ALIVE", Right: true},
		{Title: "SESSION"},
		{Title: "CONNS", Right: true},
		{Title: "ANSWER", Flex: true},
		{Title: "SENT", Right: true},
		{Title: "RECEIVED", Right: true},
		{Title: "BYTES", Right: true},
		{Title: "WILL", Flex: true},
		{Title: "END", Flex: true},
	}, list))

	list = nil
	for _, t := range r.Topics[:shown(len(r.Topics))] {
		name := ui.Printable(t.Topic)
		if name == "" {
			name = "(not known)"
		}
		list = append(list, []string{
			name, ui.Count(t.Published), ui.Count(t.Delivered), ui.Bytes(t.Bytes), ui.Rate(t.Rate), ui.Count(t.Retained),
			ui.Count(int64(t.Publishers)), ui.Count(int64(t.Subscribers)),
		})
	}
	if len(list) > 0 {
		fmt.Fprintf(&b, "\n%s\n%s", u.Heading(more("Topics", len(list), len(r.Topics))), u.Table(width, []ui.Column{
			{Title: "TOPIC", Flex: true},
			{Title: "PUBLISHED", Right: true},
			{Title: "DELIVERED", Right: true},
			{Title: "PAYLOAD", Right: true},
			{Title: "RATE", Right: true},
			{Title: "RETAINED", Right: true},
			{Title: "PUBLISHERS", Right: true},
			{Title: "RECEIVERS", Right: true},
		}, list))
	}
	return b.String()
}

// more is a title that says when not everything is shown.
func more(title string, shown, all int) string {
	if shown == all {
		return title
	}
	return fmt.Sprintf("%s (%d of %s; --rows shows more)", title, shown, ui.Count(int64(all)))
}
