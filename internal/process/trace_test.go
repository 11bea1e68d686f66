package process

import (
	"strings"
	"testing"
)

// Traces in the words of the runtimes, with the signature that each must have in every run.
var traces = []struct{ name, text, want string }{
	{
		"go index", `2026/01/02 listening
panic: runtime error: index out of range [5] with length 3 [recovered, repanicked]
	panic: runtime error: index out of range [5] with length 3

goroutine 34 [running]:
panic({0x6a2c40?, 0xc0000b2030?})
	/usr/local/go/src/runtime/panic.go:770 +0x132
example.com/broker/v2/packets.(*Packet).SubscribeDecode(0xc00011c008, {0xc00001c0a8, 0x7, 0x7})
	/src/packets/packets.go:914 +0x3a5
example.com/broker/v2.(*Client).ReadPacket(0xc000120000, 0xc00011c000)
	/src/clients.go:420 +0x1b2
main.main.func1()
	/src/main.go:12 +0x25
created by main.main in goroutine 1
	/src/main.go:11 +0x9c
exit status 2`,
		"go panic: runtime error: index out of range [#] with length # in packets.(*Packet).SubscribeDecode < v2.(*Client).ReadPacket < main.main.func1",
	},
	{
		"go nil", `panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x10 pc=0x4b2c1f]

goroutine 20 [running]:
hmq/broker.(*client).ProcessPublish(...)
	/src/client.go:300
hmq/broker.ProcessMessage(0xc000100000)
	/src/client.go:200 +0x4a`,
		"go panic: runtime error: invalid memory address or nil pointer dereference in broker.(*client).ProcessPublish < broker.ProcessMessage",
	},
	{
		"go maps", `fatal error: concurrent map writes

goroutine 8 [running]:
internal/runtime/maps.fatal({0x1, 0x2})
	/usr/local/go/src/runtime/panic.go:1046 +0x18
main.(*hub).add(0xc0, {0x4, 0x5})
	/src/main.go:20 +0x40

goroutine 1 [select]:
main.other()
	/src/main.go:9 +0x1`,
		"go fatal error: concurrent map writes in main.(*hub).add",
	},
	{"go deadlock", "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\nmain.main()\n\t/x/main.go:5 +0x1d", "go fatal error: all goroutines are asleep - deadlock! in main.main"},
	{"go logged", "level=error msg=recovered\ngoroutine 51 [running]:\nruntime/debug.Stack()\n\t/usr/local/go/src/runtime/debug/stack.go:26 +0x5e\nexample.com/mq.handle(0xc0)\n\t/src/a.go:1 +0x2\n", "go stack in mq.handle"},
	{"go race", "==================\nWARNING: DATA RACE\nWrite at 0x00c000124010 by goroutine 7:\n  main.main.func1()\n      /x/main.go:9 +0x30\n\nPrevious write at 0x00c000124010 by main goroutine:\n  main.main()\n      /x/main.go:11 +0x84\n==================", "go race: DATA RACE in main.main.func1 < main.main"},
	{
		"asan", `=================================================================
==4242==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x602000000015 at pc 0x55d bp 0x7ff sp 0x7fe
READ of size 1 at 0x602000000015 thread T0
    #0 0x7f1e2 in __interceptor_memcpy (/lib/libasan.so.8+0x3b)
    #1 0x55d2 in packet__read_string /src/lib/packet_datatypes.c:139:5
    #2 0x55d9 in handle__subscribe /src/src/handle_subscribe.c:80
    #3 0x7f in __libc_start_main (/lib/libc.so.6+0x2) (BuildId: ab12)
SUMMARY: AddressSanitizer: heap-buffer-overflow`,
		"asan: heap-buffer-overflow in packet__read_string < handle__subscribe",
	},
	{"ubsan", "/src/lib/util.c:31:12: runtime error: signed integer overflow: 2147483647 + 1 cannot be represented in type 'int'", "ubsan: util.c:31: signed integer overflow: # + # cannot be represented in type 'int'"},
	{"valgrind", "==99== Invalid read of size 4\n==99==    at 0x12A4F0: retain__store (retain.c:77)\n==99==    by 0x11F7B2: handle__publish (handle_publish.c:300)\n==99==  Address 0x4c is 0 bytes after a block", "valgrind: Invalid read in retain__store < handle__publish"},
	{
		"node", `/srv/node_modules/broker/lib/client.js:88
    throw err
    ^

TypeError: Cannot read properties of undefined (reading 'length')
    at Parser._parseUnsubscribe (/srv/node_modules/mqtt-packet/parser.js:507:25)
    at Socket.<anonymous> (/srv/broker.js:12:3)
    at Socket.emit (node:events:518:28)

Node.js v20.19.2`,
		"node: TypeError: Cannot read properties of undefined (reading 'length') in Parser._parseUnsubscribe@parser.js < Socket.<anonymous>@broker.js",
	},
	{"java", "Jan 01 ERROR\njava.lang.NullPointerException: Cannot invoke \"String.length()\" because \"topic\" is null\n\tat io.moquette.broker.Topic.parse(Topic.java:61)\n\tat java.base/java.lang.Thread.run(Thread.java:840)\n", "java: java.lang.NullPointerException: Cannot invoke \"String.length()\" because \"topic\" is null in io.moquette.broker.Topic.parse"},
	{"rust", "thread 'tokio-runtime-worker' (2317) panicked at src/router/logs.rs:412:17:\nindex out of bounds: the len is 3 but the index is 7\nnote: run with `RUST_BACKTRACE=1`", "rust panic: src/router/logs.rs:412: index out of bounds: the len is # but the index is #"},
	{"rust, older", "thread 'main' panicked at 'called `Option::unwrap()` on a `None` value', src/main.rs:4:37", "rust panic: src/main.rs:4"},
	{"erlang", "** Generic server <0.512.0> terminating\n** Reason for termination ==\n** {function_clause,[{mqtt_frame,parse_fields,[<<1,2>>],[{file,\"src/x.erl\"},{line,9}]},{gen_server,loop,7,[]}]}", "erlang in mqtt_frame,parse_fields"},
	{"glibc", "free(): invalid pointer\nAborted", "abort: free(): invalid pointer"},
	{"double free", "double free or corruption (out)", "abort: double free or corruption (out)"},
	{"fortify", "*** stack smashing detected ***: terminated", "abort: *** stack smashing detected ***: terminated"},
	{"assert", "broker: src/context.c:88: context__cleanup: Assertion `c->sock' failed.", "assertion: src/context.c:88: context__cleanup: Assertion `c->sock' failed."},
	{"c++", "terminate called after throwing an instance of 'std::length_error'\n  what():  basic_string::_M_create", "c++ exception: after throwing an instance of 'std::length_error': basic_string::_M_create"},
	{"python", "Traceback (most recent call last):\n  File \"/usr/lib/broker/session.py\", line 12, in handle\n    x = y[3]\nIndexError: list index out of range", "python: IndexError: list index out of range in session.py@handle"},
	{"dotnet", "Unhandled exception. System.NullReferenceException: Object reference not set\n   at Mq.Server.Read(Packet p)\n   at System.Threading.Run()", "dotnet: System.NullReferenceException: Object reference not set in Mq.Server.Read"},
}

func TestReadTrace(t *testing.T) {
	for _, tt := range traces {
		t.Run(tt.name, func(t *testing.T) {
			tr, ok := ReadTrace(tt.text)
			if !ok || tr.Signature() != tt.want {
				t.Errorf("%t\ngot  %s\nwant %s", ok, tr.Signature(), tt.want)
			}
			// Read line by line, in pieces, with a program that goes on logging.
			var o Output
			var got []string
			o.OnTrace = func(tr Trace) { got = append(got, tr.Signature()) }
			text := "1: New connection from 127.0.0.1:4711\n" + tt.text + "\n"
			for i := 0; i < len(text); i += 7 {
				_, _ = o.Write([]byte(text[i:min(len(text), i+7)]))
			}
			o.Flush()
			if len(got) != 1 || got[0] != tt.want {
				t.Errorf("from a stream: %q, want %q", got, tt.want)
			}
		})
	}
}

// A program that survives its traces and goes on logging has each of them told apart from the log.
func TestTracesOfOneThatGoesOn(t *testing.T) {
	var o Output
	for range 3 {
		_, _ = o.Write([]byte(traces[9].text + "\nclient c1 connected\n" + traces[10].text + "client gone\n"))
	}
	o.Flush()
	var kinds []string
	for _, tr := range o.Traces() {
		kinds = append(kinds, tr.Kind)
	}
	if got := strings.Join(kinds, " "); got != "node java node java node java" {
		t.Errorf("traces: %s", got)
	}
	if tr := o.Traces()[1]; strings.Contains(tr.Text, "client gone") {
		t.Errorf("the log is part of the trace: %s", tr.Text)
	}
}

func TestNoTrace(t *testing.T) {
	for _, line := range []string{
		"1700000000: Client mqlab-7 disconnected due to protocol error.",
		"1700000000: Error: Unable to open log file.",
		"Socket error on client a, disconnecting.",
		"time=2026 level=WARN msg=\"malformed packet\" error=\"topic filter is empty\"",
		"[error] client sent a malformed packet",
		"Error: write EPIPE",
		"goroutine 5 [running]: nothing follows",
		"=== free ports: 5 ===",
		"",
	} {
		if tr, ok := ReadTrace(line); ok {
			t.Errorf("%q is taken for a trace: %s", line, tr.Signature())
		}
	}
}

// Whatever a program writes costs bounded memory, and nothing panics.
func FuzzOutput(f *testing.F) {
	for _, tt := range traces {
		f.Add(tt.text, 5)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		var o Output
		n := 0
		o.OnTrace = func(tr Trace) {
			n++
			if tr.Kind == "" || len(tr.Message) > maxMessage || len(tr.Frames) > maxFrames || strings.ContainsAny(tr.Message, "\n\x00") {
				t.Errorf("%+v", tr)
			}
		}
		if cut <= 0 || cut > len(text) {
			cut = len(text)
		}
		_, _ = o.Write([]byte(text[:cut]))
		_, _ = o.Write([]byte(text[cut:]))
		o.Flush()
		if len(o.tail) > 2*tailBytes || len(o.line) > lineBytes || len(o.Traces()) != min(n, maxTraces) {
			t.Errorf("%d bytes of tail, %d of line, %d traces kept of %d", len(o.tail), len(o.line), len(o.Traces()), n)
		}
		if want := text[max(0, len(text)-100):]; o.Tail(100) != want {
			t.Errorf("the tail is %q, want %q", o.Tail(100), want)
		}
	})
}
