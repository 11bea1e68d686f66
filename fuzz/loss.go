package fuzz

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A lost message shows in several ways: a bystander waits in vain, which looks like a connection that is not served, or
// misses what was retained. Replays, by which everything else is quiet, tell what it was.

// lossy reports whether the trouble may be a lost message.
func lossy(t *trouble) bool {
	switch t.oracle {
	case OracleDelivery:
		return strings.HasSuffix(t.signature, " lost")
	case OracleHang:
		return t.signature == longSubscriber || t.signature == freshSubscriber
	}
	return false
}

// better returns the one of two views of a trouble that a finding is named by: what a replay has shown, where that is a
// lost message and the first view may have been one.
func better(first, shown *trouble) *trouble {
	if shown.oracle == OracleDelivery && lossy(shown) && lossy(first) {
		return shown
	}
	return first
}

// loss looks closer at a trouble that may be a lost message: it is one where the next one arrives.
func (f *fuzzer) loss(ctx context.Context, t *trouble, wait time.Duration) *trouble {
	switch {
	case !lossy(t):
		return nil
	case t.oracle == OracleHang && t.signature == longSubscriber:
		return f.guard.lost(wait)
	case t.signature != freshSubscriber && t.signature != retainedLost || f.guard.probe(ctx, wait) != nil:
		return nil
	}
	what := "the message that it publishes"
	if t.signature == retainedLost {
		what = "a retained message"
	}
	return &trouble{
		oracle: OracleDelivery, signature: "qos 1 lost", title: "a message to a bystander is lost: qos 1",
		detail: append(slices.Clone(t.detail), fmt.Sprintf("a fresh subscriber waited for %s in vain; the next one got it", what)),
	}
}

// Signatures of a fresh subscriber that waits in vain for its own message, and for a retained one.
const (
	freshSubscriber = "fresh a subscription"
	retainedLost    = "retained lost"
)

// rename gives a finding the name of the trouble that its replays have shown. It keeps the other one too, by which it is
// known when it is met again. mu is held.
func (f *fuzzer) rename(x *Finding, t *trouble) {
	if t.oracle != OracleDelivery || x.Signature == t.signature || f.findings[t.key()] != nil {
		return
	}
	x.Oracle, x.Signature, x.Title, x.Rule = t.oracle, t.signature, t.title, t.rule
	f.findings[t.key()] = x
}
