package fuzz

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

// certain are rules whose breach obliges every server to close the connection, whatever else it announces.
var certain = []string{"MQTT-2.2.2-2", "MQTT-2.1.3-1", "MQTT-3.1.0-2", "MQTT-3.3.1-4", "MQTT-3.8.3-4", "MQTT-3.8.1-1", "MQTT-3.10.1-1", "MQTT-3.6.1-1", "MQTT-3.1.2-3"}

// mustClose judges whether a connection on which a fault was sent is closed. Being answered after it, and open still
// when the time is up, proves that the server reads on.
func (w *link) mustClose(ctx context.Context) {
	x := w.x
	if w.fault == nil || x.closeWait <= 0 || w.broken || w.stalled() {
		return
	}
	state := func() (ended bool, accepted bool, pongs int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.ended != open, w.accepted, w.pongs
	}
	ended, accepted, _ := state()
	if ended || !accepted || w.lost || len(w.part) > 0 {
		return
	}
	e := w.fault
	sig := fmt.Sprintf("%s %s %s", e.Fault, e.Packet, w.version)
	if x.closeKnown != nil && x.closeKnown(sig) {
		return
	}
	kept := false
	defer func() {
		if !kept && x.closeForget != nil {
			x.closeForget(sig)
		}
	}()
	if w.judge != nil { // what is sent here belongs to no script
		w.judge.Gap(codec.Client, time.Now())
	}
	_, _ = w.nc.Write([]byte{byte(codec.TypePingreq) << 4, 0})
	limit := time.Now().Add(x.closeWait)
	for {
		left := time.Until(limit)
		if ended, _, _ = state(); ended || ctx.Err() != nil {
			return
		}
		if left <= 0 {
			break
		}
		x.sleep(left)
	}
	if _, _, pongs := state(); pongs <= w.pings {
		return
	}
	kept = true
	t := trouble{
		oracle: OracleClose, signature: sig, rule: e.Rule, warn: !slices.Contains(certain, e.Rule),
		title:  fmt.Sprintf("a connection is kept open after a %s that must end it under MQTT %s: %s", e.Packet, w.version, e.Msg),
		detail: []string{fmt.Sprintf("%s later the connection was still served: PINGREQ was answered", x.closeWait)},
	}
	w.mu.Lock()
	w.troubles = append(w.troubles, t)
	w.mu.Unlock()
}

// close ends the connection, in order or by a reset, and hands its troubles over.
func (w *link) close(drop bool) {
	if w.nc == nil {
		return
	}
	w.state()
	w.mu.Lock()
	if w.ended == open {
		w.ended = byUs
	}
	w.mu.Unlock()
	if drop {
		reset(w.nc)
	} else {
		_ = w.nc.Close()
	}
	w.resume()
	<-w.done
	w.nc = nil
	r := &w.x.res
	r.received += w.total
	w.collect(r)
}

// collect adds what was wrong on the connection to the result.
func (w *link) collect(r *result) {
	var known map[string]bool
	for _, t := range w.troubles {
		if known == nil {
			known = map[string]bool{}
		}
		known[t.rule] = true
		// What is no more than odd, and was provoked by a fault of ours, accuses nobody. Nor does an acknowledgement with
		// the Packet Identifier of what it acknowledges, though that is 0.
		t.warn = t.warn || (t.rule == "" || t.echo) && w.fault != nil
		r.troubles = append(r.troubles, t)
	}
	if w.judge == nil {
		return
	}
	n := len(r.troubles)
	judged(w.judge, known, r)
	w.judge = nil
	if w.unsound() { // an answer to what is not there by our reckoning breaks no rule
		r.troubles = r.troubles[:n]
	}
	if w.first && !w.versed {
		for i := range r.troubles[n:] {
			r.troubles[n+i].warn = true
		}
	}
}

// unsound reports whether the stream ends in the middle of a packet that is wrong from its first byte on, or cannot be
// framed at all: what the server makes of the rest is anybody's guess.
func (w *link) unsound() bool {
	if w.lost || len(w.part) == 0 {
		return w.lost
	}
	h, _, _ := codec.ParseHeader(append([]byte{w.part[0]}, 0))
	switch h.Type {
	case codec.TypePublish:
		return false
	case codec.TypePubrel, codec.TypeSubscribe, codec.TypeUnsubscribe:
		return h.Flags != 2
	case codec.TypeConnect, codec.TypePuback, codec.TypePubrec, codec.TypePubcomp, codec.TypePingreq, codec.TypeDisconnect:
		return h.Flags != 0
	case codec.TypeAuth:
		return h.Flags != 0 || w.version != codec.V5
	}
	return true
}

// judged adds the breaches of rules that a judge has found, rules that are known aside.
func judged(j *judge.Conn, known map[string]bool, r *result) {
	for _, f := range j.Findings() {
		if f.By != codec.Server || known[f.Rule] {
			continue
		}
		if known == nil {
			known = map[string]bool{}
		}
		known[f.Rule] = true
		r.troubles = append(r.troubles, trouble{
			oracle: OracleRule, signature: fmt.Sprintf("%s %s", f.Rule, f.Version), rule: f.Rule, warn: f.Grade == judge.Warn,
			title:  fmt.Sprintf("the target breaks %s under MQTT %s: expected %s", f.Rule, f.Version, f.Expected),
			detail: []string{"expected: " + f.Expected, "got: " + f.Actual},
		})
	}
}
