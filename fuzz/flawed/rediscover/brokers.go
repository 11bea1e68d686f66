package main

// old is a published version of a broker.
type old struct {
	name, version string
	program       string            // of this machine, where nothing is built
	files         map[string]string // written to its folder
	steps         [][]string        // commands that build it there
	run           string            // command line, with {folder} or {program}, {port} and {dir}
}

// inGo is a broker of the Go module proxy: a main package around it.
func inGo(name, module, version, main string) old {
	return old{
		name: name, version: version, files: map[string]string{"main.go": main}, run: "{folder}/broker {port}",
		steps: [][]string{{"go", "mod", "init", "old"}, {"go", "get", module + "@" + version}, {"go", "mod", "tidy"}, {"go", "build", "-o", "broker", "."}},
	}
}

// inNode is a broker of the npm registry, with packages that have to be of another version than the newest it would take.
// No script of a package runs when it is installed.
func inNode(name, pkg, version, main string, with ...string) old {
	install := []string{"npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", pkg + "@" + version}
	return old{
		name: name, version: version, files: map[string]string{"main.js": main, "package.json": `{"name": "old", "private": true}`},
		run:   "node {folder}/main.js {port}",
		steps: [][]string{append(install, with...)},
	}
}

// stores adds the folder in which a broker keeps what it stores to its command line.
func stores(b old) old {
	b.run += " {dir}"
	return b
}

// brokers are those that are looked at, with mosquitto as the one that millions use.
var brokers = []old{
	inGo("mochi", "github.com/mochi-mqtt/server/v2", "v2.7.9", mochi),
	inGo("mochi-2.3", "github.com/mochi-mqtt/server/v2", "v2.3.0", mochiOlder),
	inGo("mochi-1", "github.com/mochi-co/mqtt", "v1.3.2", mochiOne),
	inGo("mochi-1.0", "github.com/mochi-co/mqtt", "v1.0.0", mochiFirst),
	inGo("comqtt", "github.com/wind-c/comqtt/v2", "v2.6.0", comqtt),
	inGo("gmqtt", "github.com/DrmagicE/gmqtt", "v0.1.4", gmqtt),
	inGo("gmqtt-0.3", "github.com/DrmagicE/gmqtt", "v0.3.0", gmqttNewer),
	inGo("gmqtt-0.5", "github.com/DrmagicE/gmqtt", "v0.5.0", gmqttNewer),
	inGo("gomqtt", "github.com/256dpi/gomqtt", "v0.14.3", gomqtt),
	inGo("gomqtt-0.12", "github.com/256dpi/gomqtt", "v0.12.2", gomqtt),
	stores(inGo("nats-2.2", "github.com/nats-io/nats-server/v2", "v2.2.0", nats)),
	stores(inGo("nats-2.9", "github.com/nats-io/nats-server/v2", "v2.9.15", nats)),
	stores(inGo("nats-2.10", "github.com/nats-io/nats-server/v2", "v2.10.4", nats)),
	inGo("hmq", "github.com/fhmq/hmq", "v1.5.6", hmq),
	inNode("aedes", "aedes", "0.51.3", aedes),
	inNode("aedes-0.42", "aedes", "0.42.5", aedes),
	inNode("aedes-0.11", "aedes", "0.11.1", aedes),
	inNode("mosca", "mosca", "2.8.3", mosca, "jsonschema@1.2.4"),
	inNode("mosca-1.4", "mosca", "1.4.1", mosca, "jsonschema@1.2.4"),
	{name: "mosquitto", version: "of this machine", program: "mosquitto", run: "{program} -p {port}"},
}

const mochi = `package main

import (
	"os"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	s := mqtt.New(nil)
	_ = s.AddHook(new(auth.AllowHook), nil)
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:" + os.Args[1]})); err != nil {
		panic(err)
	}
	if err := s.Serve(); err != nil {
		panic(err)
	}
	select {}
}
`

const mochiOlder = `package main

import (
	"os"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	s := mqtt.New(nil)
	_ = s.AddHook(new(auth.AllowHook), nil)
	if err := s.AddListener(listeners.NewTCP("t", "127.0.0.1:"+os.Args[1], nil)); err != nil {
		panic(err)
	}
	if err := s.Serve(); err != nil {
		panic(err)
	}
	select {}
}
`

const mochiOne = `package main

import (
	"os"

	mqtt "github.com/mochi-co/mqtt/server"
	"github.com/mochi-co/mqtt/server/listeners"
)

func main() {
	s := mqtt.NewServer(nil)
	if err := s.AddListener(listeners.NewTCP("t", "127.0.0.1:"+os.Args[1]), nil); err != nil {
		panic(err)
	}
	if err := s.Serve(); err != nil {
		panic(err)
	}
	select {}
}
`

const mochiFirst = `package main

import (
	"os"

	mqtt "github.com/mochi-co/mqtt/server"
	"github.com/mochi-co/mqtt/server/listeners"
)

func main() {
	s := mqtt.New()
	if err := s.AddListener(listeners.NewTCP("t", "127.0.0.1:"+os.Args[1]), nil); err != nil {
		panic(err)
	}
	if err := s.Serve(); err != nil {
		panic(err)
	}
	select {}
}
`

const comqtt = `package main

import (
	"os"

	"github.com/wind-c/comqtt/v2/mqtt"
	"github.com/wind-c/comqtt/v2/mqtt/hooks/auth"
	"github.com/wind-c/comqtt/v2/mqtt/listeners"
)

func main() {
	s := mqtt.New(nil)
	_ = s.AddHook(new(auth.AllowHook), nil)
	if err := s.AddListener(listeners.NewTCP("t", "127.0.0.1:"+os.Args[1], nil)); err != nil {
		panic(err)
	}
	if err := s.Serve(); err != nil {
		panic(err)
	}
	select {}
}
`

const gmqtt = `package main

import (
	"net"
	"os"

	"github.com/DrmagicE/gmqtt"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	gmqtt.NewServer(gmqtt.WithTCPListener(l)).Run()
	select {}
}
`

const gmqttNewer = `package main

import (
	"net"
	"os"

	"github.com/DrmagicE/gmqtt/config"
	_ "github.com/DrmagicE/gmqtt/persistence"
	"github.com/DrmagicE/gmqtt/server"
	_ "github.com/DrmagicE/gmqtt/topicalias/fifo"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	if err := server.New(server.WithTCPListener(l), server.WithConfig(config.DefaultConfig())).Run(); err != nil {
		panic(err)
	}
}
`

const gomqtt = `package main

import (
	"os"

	"github.com/256dpi/gomqtt/broker"
	"github.com/256dpi/gomqtt/transport"
)

func main() {
	s, err := transport.Launch("tcp://127.0.0.1:" + os.Args[1])
	if err != nil {
		panic(err)
	}
	broker.NewEngine(broker.NewMemoryBackend()).Accept(s)
	select {}
}
`

const nats = `package main

import (
	"os"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "old", Host: "127.0.0.1", Port: -1, NoSigs: true, JetStream: true, StoreDir: os.Args[2],
		MQTT: server.MQTTOpts{Host: "127.0.0.1", Port: port},
	})
	if err != nil {
		panic(err)
	}
	s.Start()
	select {}
}
`

const hmq = `package main

import (
	"os"

	"github.com/fhmq/hmq/broker"
)

func main() {
	b, err := broker.NewBroker(&broker.Config{Host: "127.0.0.1", Port: os.Args[1], Worker: 64})
	if err != nil {
		panic(err)
	}
	b.Start()
	select {}
}
`

const aedes = `const aedes = require('aedes')()
require('net').createServer(aedes.handle).listen(+process.argv[2], '127.0.0.1')
`

const mosca = `const mosca = require('mosca')
new mosca.Server({ host: '127.0.0.1', port: +process.argv[2] })
`
