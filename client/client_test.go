package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/client/store"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("MQLAB_CRASH_TARGET"); url != "" {
		crashingPublisher(url)
		return
	}
	client.PoisonFrames()
	goleak.VerifyTestMain(m)
}

// within bounds a test; nothing waits for it where all is well.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connect(t testing.TB, url string, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.Connect(within(t), url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func recv(t testing.TB, ch <-chan *client.Message) *client.Message {
	t.Helper()
	select {
	case m := <-ch:
		if m == nil {
			t.Fatal("the channel was closed")
		}
		return m
	case <-within(t).Done():
		t.Fatal("no message came")
	}
	return nil
}

func wait(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-within(t).Done():
		t.Fatalf("waited in vain: %s", what)
	}
}

var versions = []codec.Version{codec.V31, codec.V4, codec.V5}

func TestPublishAndSubscribe(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{AckProperties: true})
	for _, v := range versions {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/durable=%t", v, durable), func(t *testing.T) {
				ctx := within(t)
				sub := connect(t, srv.URL, client.Config{Version: v, ClientID: "sub"})
				cfg := client.Config{Version: v, ClientID: "pub"}
				if durable {
					cfg.Store = store.Memory()
				}
				pub := connect(t, srv.URL, cfg)
				got, err := sub.Subscribe(ctx, nil, client.Subscription{Filter: "a/+", QoS: 2}, client.Subscription{Filter: "b", QoS: 1})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]codec.ReasonCode{2, 1}, got); diff != "" {
					t.Error(diff)
				}
				for i := range 30 {
					m := client.Message{Topic: fmt.Sprintf("a/%d", i%3), Payload: fmt.Append(nil, i), QoS: codec.QoS(i % 3)}
					if v == codec.V5 {
						m.Props.AddUser("n", fmt.Sprint(i))
						m.Props.SetText(codec.PropContentType, "text/plain")
					}
					if err := pub.Publish(ctx, m); err != nil {
						t.Fatal(err)
					}
					// One at a time: order holds within a QoS only.
					in := recv(t, sub.Messages())
					if string(in.Payload) != fmt.Sprint(i) || in.Topic != m.Topic || in.QoS != m.QoS || in.Retain || in.Dup {
						t.Fatalf("message %d came as %+v", i, in)
					}
					if v == codec.V5 && in.Props.Text(codec.PropContentType) != "text/plain" {
						t.Errorf("message %d has lost its properties", i)
					}
				}
				if err := sub.Unsubscribe(ctx, "a/+"); err != nil {
					t.Fatal(err)
				}
				for _, topic := range []string{"a/1", "b"} {
					if err := pub.Publish(ctx, client.Message{Topic: topic, QoS: 1}); err != nil {
						t.Fatal(err)
					}
				}
				if m := recv(t, sub.Messages()); m.Topic != "b" {
					t.Errorf("a message for %s after the unsubscription", m.Topic)
				}
				if err := pub.Disconnect(ctx); err != nil {
					t.Error(err)
				}
				if mem, ok := cfg.Store.(*store.Mem); ok && mem.Len() != 1 {
					t.Errorf("%d records are left in the store, want the one of the client", mem.Len())
				}
				if _, err := pub.PublishAsync(ctx, client.Message{Topic: "x", QoS: 1}); !errors.Is(err, client.ErrClosed) {
					t.Errorf("publish after Disconnect: %v", err)
				}
			})
		}
	}
}

func TestTransports(t *testing.T) {
	dir := t.TempDir()
	cert := testCertificate(t, dir)
	srv := brokertest.NewServer(t, broker.Config{TLS: &transport.TLS{CertFile: cert, KeyFile: cert}})
	tlsConfig, err := transport.TLS{CAFile: cert}.Client()
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"mqtt://127.0.0.1:0", "mqtts://127.0.0.1:0", "ws://127.0.0.1:0/mqtt", "wss://127.0.0.1:0/mqtt", "unix://" + dir + "/s",
	} {
		t.Run(strings.Split(url, ":")[0], func(t *testing.T) {
			c := connect(t, srv.Listen(url), client.Config{TLS: tlsConfig})
			roundTrip(t, c, 70_000)
			if err := c.Disconnect(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// roundTrip sends a message of that size through the Server and back at each QoS.
func roundTrip(t *testing.T, c *client.Client, size int) {
	t.Helper()
	ctx := within(t)
	arrived := make(chan *client.Message, 3)
	if _, err := c.Subscribe(ctx, func(m *client.Message) { arrived <- m }, client.Subscription{Filter: "round/trip", QoS: 2}); err != nil {
		t.Fatal(err)
	}
	for q := range codec.QoS(3) {
		payload := strings.Repeat(fmt.Sprint(q), size)
		if err := c.Publish(ctx, client.Message{Topic: "round/trip", QoS: q, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		if m := recv(t, arrived); string(m.Payload) != payload || m.QoS != q {
			t.Errorf("QoS %d: %d bytes at QoS %d came", q, len(m.Payload), m.QoS)
		}
	}
}

func TestLimitsOfTheServer(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{
		MaximumQoS: broker.UpToQoS1, RetainUnavailable: true, WildcardUnavailable: true, SharedUnavailable: true,
		SubscriptionIDsUnavailable: true, MaximumPacketSize: 300, ReceiveMaximum: 2, TopicAliasMaximum: 2,
	})
	ctx := within(t)
	c := connect(t, srv.URL, client.Config{ClientID: "limits"})
	for name, m := range map[string]client.Message{
		"QoS 2":  {Topic: "a", QoS: 2},
		"retain": {Topic: "a", QoS: 1, Retain: true},
	} {
		if err := c.Publish(ctx, m); !errors.Is(err, client.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for q := range codec.QoS(2) {
		if err := c.Publish(ctx, client.Message{Topic: "a", QoS: q, Payload: make([]byte, 300)}); !errors.Is(err, client.ErrTooLarge) {
			t.Errorf("too large at QoS %d: %v", q, err)
		}
	}
	for _, f := range []string{"a/#", "$share/g/a"} {
		if _, err := c.Subscribe(ctx, nil, client.Subscription{Filter: f}); !errors.Is(err, client.ErrUnsupported) {
			t.Errorf("%s: %v", f, err)
		}
	}
	if _, err := c.Subscribe(ctx, nil, client.Subscription{Filter: strings.Repeat("x", 400)}); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("a long filter: %v", err)
	}
	// The broker cuts whoever exceeds its Receive Maximum or uses an alias it did not allow.
	subs := []client.Subscription{{Filter: "long/topic/0", QoS: 1}, {Filter: "long/topic/1", QoS: 1}, {Filter: "long/topic/2", QoS: 1}}
	if _, err := c.Subscribe(ctx, nil, subs...); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	seen := map[string][]string{}
	go func() {
		defer close(done)
		for range 300 {
			m := <-c.Messages()
			seen[m.Topic] = append(seen[m.Topic], string(m.Payload))
		}
	}()
	var tokens []*client.Token
	for i := range 300 {
		tok, err := c.PublishAsync(ctx, client.Message{Topic: subs[i%3].Filter, QoS: 1, Payload: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, tok)
	}
	for _, tok := range tokens {
		wait(t, "acknowledgement", tok.Done())
		if tok.Err() != nil {
			t.Fatal(tok.Err())
		}
	}
	wait(t, "messages", done)
	for i, s := range subs {
		for j, p := range seen[s.Filter] {
			if p != fmt.Sprint(3*j+i) {
				t.Fatalf("%s: message %d is %s", s.Filter, j, p)
			}
		}
	}
	if n := c.Stats().Connects; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestRefusals(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{
		Authenticate: func(_ context.Context, l broker.Login) error {
			if l.Username != "alice" || string(l.Password) != "secret" {
				return broker.ErrBadCredentials
			}
			return nil
		},
		Authorize: func(_ context.Context, a broker.Access) bool { return !strings.HasPrefix(a.Topic, "forbidden") },
	})
	ctx := within(t)
	for _, v := range versions {
		_, err := client.Connect(ctx, srv.URL, client.Config{Version: v, Username: "alice"})
		e, ok := errors.AsType[*client.RefusedError](err)
		want := codec.BadUserNameOrPassword
		if v != codec.V5 {
			want = codec.ReturnBadCredentials
		}
		if !ok || e.Reason != want || e.Packet != codec.TypeConnack {
			t.Errorf("%s: %v", v, err)
		}
	}
	c := connect(t, strings.Replace(srv.URL, "://", "://alice:secret@", 1), client.Config{})
	if strings.Contains(c.Target(), "secret") {
		t.Errorf("the target shows its password: %s", c.Target())
	}
	e, ok := errors.AsType[*client.RefusedError](c.Publish(ctx, client.Message{Topic: "forbidden/x", QoS: 2}))
	if !ok || e.Reason != codec.NotAuthorized || e.Packet != codec.TypePubrec {
		t.Errorf("publish: %v", e)
	}
	got, err := c.Subscribe(ctx, nil, client.Subscription{Filter: "a", QoS: 1}, client.Subscription{Filter: "forbidden"})
	if e, ok := errors.AsType[*client.RefusedError](err); !ok || e.About != "forbidden" || e.Reason != codec.NotAuthorized {
		t.Errorf("subscribe: %v", err)
	}
	if diff := cmp.Diff([]codec.ReasonCode{codec.GrantedQoS1, codec.NotAuthorized}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWill(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{})
	ctx := within(t)
	watch := connect(t, srv.URL, client.Config{})
	if _, err := watch.Subscribe(ctx, nil, client.Subscription{Filter: "will/#", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		with := func(name string) *client.Client {
			return connect(t, srv.URL, client.Config{Version: v, Will: &codec.Will{Topic: "will/" + name, QoS: 1, Payload: []byte("gone")}})
		}
		if err := with("normal").Disconnect(ctx); err != nil {
			t.Fatal(err)
		}
		if err := with("wanted").DisconnectWith(ctx, codec.Disconnect{Reason: codec.DisconnectWithWillMessage}); err != nil {
			t.Fatal(err)
		}
		if m := recv(t, watch.Messages()); m.Topic != "will/wanted" {
			t.Errorf("%s: a Will on %s", v, m.Topic)
		}
	}
}

func TestServerAssignsWhatIsUsed(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{ServerKeepAlive: time.Hour})
	said := make(chan client.Session, 1)
	c := connect(t, srv.URL, client.Config{OnConnect: func(_ *client.Client, s client.Session) { said <- s }})
	s := <-said
	if c.ClientID() == "" || s.ClientID != c.ClientID() || s.Props.Uint(codec.PropServerKeepAlive, 0) != 3600 {
		t.Errorf("client %q, %+v", c.ClientID(), s)
	}
}

func TestOverlappingSubscriptions(t *testing.T) {
	for _, ids := range []bool{true, false} {
		srv := brokertest.NewServer(t, broker.Config{SubscriptionIDsUnavailable: !ids})
		ctx := within(t)
		c := connect(t, srv.URL, client.Config{})
		var got []string
		take := func(name string) client.Handler {
			return func(m *client.Message) { got = append(got, name+" "+string(m.Payload)) }
		}
		for _, f := range []string{"a/#", "a/b", "$share/g/c"} {
			if _, err := c.Subscribe(ctx, take(f), client.Subscription{Filter: f, QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
		end := make(chan struct{})
		if _, err := c.Subscribe(ctx, func(*client.Message) { close(end) }, client.Subscription{Filter: "end", QoS: 1}); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"a/b", "a/c", "c", "end"} {
			if err := c.Publish(ctx, client.Message{Topic: topic, QoS: 1, Payload: []byte(topic)}); err != nil {
				t.Fatal(err)
			}
		}
		wait(t, "the last message", end)
		slices.Sort(got)
		if diff := cmp.Diff([]string{"$share/g/c c", "a/# a/b", "a/# a/c", "a/b a/b"}, slices.Compact(got)); diff != "" {
			t.Errorf("identifiers %t: %s", ids, diff)
		}
		if ids && len(got) != 4 {
			t.Errorf("each handler takes each message once, but: %q", got)
		}
	}
}

func TestManualAck(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{})
	ctx := within(t)
	pub := connect(t, srv.URL, client.Config{})
	cfg := client.Config{ClientID: "manual", SessionExpiry: client.Forever, ManualAck: true}
	sub := connect(t, srv.URL, cfg)
	if _, err := sub.Subscribe(ctx, nil, client.Subscription{Filter: "m", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := pub.Publish(ctx, client.Message{Topic: "m", QoS: 1, Payload: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	first, second, third := recv(t, sub.Messages()), recv(t, sub.Messages()), recv(t, sub.Messages())
	third.Ack() // waits for the ones before it
	first.Ack()
	_ = second
	if err := sub.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	sub = connect(t, srv.URL, cfg)
	for _, want := range []string{"1", "2"} {
		m := recv(t, sub.Messages())
		if string(m.Payload) != want {
			t.Errorf("message %s came again, want %s", m.Payload, want)
		}
		m.Ack()
	}
}

func TestRequestAndResponse(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{ResponseInformation: "answers"})
	ctx := within(t)
	server := connect(t, srv.URL, client.Config{})
	var answering sync.WaitGroup // an answer is there before it is acknowledged
	defer answering.Wait()
	_, err := server.Subscribe(ctx, func(m *client.Message) {
		answering.Add(1)
		defer answering.Done()
		if err := server.Respond(ctx, m, append([]byte("re: "), m.Payload...)); err != nil {
			t.Error(err)
		}
	}, client.Subscription{Filter: "ask", QoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, srv.URL, client.Config{RequestResponseInfo: true})
	type result struct {
		i   int
		got string
		err error
	}
	results := make(chan result)
	for i := range 20 {
		go func() {
			m, err := c.Request(ctx, client.Message{Topic: "ask", QoS: 1, Payload: fmt.Append(nil, i)})
			r := result{i: i, err: err}
			if m != nil {
				r.got = string(m.Payload)
				if !strings.HasPrefix(m.Topic, "answers/") {
					r.err = fmt.Errorf("the answer came on %s", m.Topic)
				}
			}
			results <- r
		}()
	}
	for range 20 {
		if r := <-results; r.err != nil || r.got != fmt.Sprintf("re: %d", r.i) {
			t.Errorf("%d: %q, %v", r.i, r.got, r.err)
		}
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Request(short, client.Message{Topic: "nobody"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that nobody answers: %v", err)
	}
}

func TestScram(t *testing.T) {
	creds, err := broker.NewScramCredentials("open sesame", 0)
	if err != nil {
		t.Fatal(err)
	}
	srv := brokertest.NewServer(t, broker.Config{AuthMethods: []broker.AuthMethod{
		broker.ScramSHA256(func(user string) (broker.ScramCredentials, bool) { return creds, user == "ali=,baba" }),
	}})
	c := connect(t, srv.URL, client.Config{Authenticator: client.ScramSHA256("ali=,baba", "open sesame")})
	if err := c.Reauthenticate(within(t)); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c, 10)
	if n := c.Stats().Connects; n != 1 {
		t.Errorf("%d connections, want 1: %v", n, c.Err())
	}
	_, err = client.Connect(within(t), srv.URL, client.Config{Authenticator: client.ScramSHA256("ali=,baba", "wrong")})
	if e, ok := errors.AsType[*client.RefusedError](err); !ok || e.Reason != codec.NotAuthorized && e.Reason != codec.BadUserNameOrPassword {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  client.Config
		want string
	}{
		{"version", client.Config{Version: 6}, "Version: 6 is not 3, 4 or 5"},
		{"all at once", client.Config{Version: codec.V4, Password: []byte("x"), KeepAlive: 20 * time.Hour}, "Password: before version 5 it needs a Username\nKeepAlive: 20h0m0s is more than 65,535 seconds"},
		{"long id", client.Config{Version: codec.V31, ClientID: strings.Repeat("x", 24)}, "ClientID: MQTT 3.1 allows 23 bytes, and it has 24"},
		{"will", client.Config{Will: &codec.Will{Topic: "a/#"}}, "Will.Topic: "},
		{"fine", client.Config{}, ""},
	} {
		err := tt.cfg.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := client.Connect(within(t), "mqtt://127.0.0.1:1", client.Config{Version: 9}); err == nil || !strings.Contains(err.Error(), "Version") {
		t.Errorf("Connect takes any configuration: %v", err)
	}
}

func TestBadMessages(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{})
	c := connect(t, srv.URL, client.Config{})
	alias := client.Message{Topic: "a"}
	alias.Props.SetUint(codec.PropTopicAlias, 1)
	foreign := client.Message{Topic: "a", QoS: 1}
	foreign.Props.SetText(codec.PropReasonString, "x")
	for _, m := range []client.Message{{Topic: ""}, {Topic: "a/+"}, {Topic: "a", QoS: 3}, alias, foreign, {Topic: "a\xff"}} {
		if err := c.Publish(within(t), m); err == nil {
			t.Errorf("%+v is accepted", m)
		}
	}
	for _, f := range []string{"", "a#", "$share/g"} {
		if _, err := c.Subscribe(within(t), nil, client.Subscription{Filter: f}); err == nil {
			t.Errorf("the filter %q is accepted", f)
		}
	}
	roundTrip(t, c, 1)
}
