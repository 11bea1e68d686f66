package scenarios

import "time"

// KindWorkload is the kind of a [Workload].
const KindWorkload = "workload"

// Workload is a description of load: groups of virtual clients, the phases of a run, and what its result must be.
// Texts marked as templates may hold placeholders in braces; see [Template].
type Workload struct {
	Kind  string `yaml:"kind" doc:"always workload" enum:"workload"`
	Title string `yaml:"title" doc:"one line: what is loaded, and how"`
	About string `yaml:"about,omitempty" doc:"why one runs it, and how to read what comes out"`
	MQTT  string `yaml:"mqtt,omitempty" doc:"the protocol version of groups that name none; default 3.1.1" enum:"3.1,3.1.1,5.0"`
	Seed  uint64 `yaml:"seed,omitempty" doc:"of everything random; the same seed gives the same run"`

	// Window bounds what a client has unacknowledged; 0 is no bound but the session's. It makes the model a closed one
	// where Model says so.
	Model  string `yaml:"model,omitempty" doc:"open offers messages on a schedule whatever the server does; closed publishes when the window has room; default open" enum:"open,closed"`
	Window int    `yaml:"window,omitempty" doc:"QoS 1 and 2 messages that one client has under way at most; default no bound but the server's, in the closed model 1"`

	ConnectRate Rate          `yaml:"connect_rate,omitempty" doc:"connections opened per second at the start, over all groups, such as 1000/s; default as fast as they are accepted"`
	Clients     []Group       `yaml:"clients" doc:"groups of like clients"`
	Phases      []Phase       `yaml:"phases,omitempty" doc:"the run's phases in order; default one hold of 10s"`
	Drain       time.Duration `yaml:"drain,omitempty" doc:"how long to wait at the end for what is still under way; default 5s"`
	Thresholds  []string      `yaml:"thresholds,omitempty" doc:"what the result must satisfy, such as publish_ack.p99 < 50ms"`

	// NoVerify lets payloads be smaller than [ProofSize].
	NoVerify bool `yaml:"no_verify,omitempty" doc:"messages carry no proof: counted, but not verified"`

	// Name is that of a workload from the library, "" for any other.
	Name string `yaml:"-"`
	// Dir is the folder that file names are relative to; "" is the process's own.
	Dir string `yaml:"-"`
}

// Group is a number of like clients. All of them connect and subscribe before the first message is due.
type Group struct {
	Name  string `yaml:"name" doc:"names the group in results"`
	Count int    `yaml:"count" doc:"how many clients"`

	ClientID string `yaml:"client_id,omitempty" doc:"template; default {run}-{group}-{index}, in 3.1 {run}-{client}"`
	MQTT     string `yaml:"mqtt,omitempty" doc:"the protocol version" enum:"3.1,3.1.1,5.0"`
	// A nil CleanStart is true.
	CleanStart    *bool         `yaml:"clean_start,omitempty" doc:"clean session in 3.1 and 3.1.1; default true"`
	SessionExpiry time.Duration `yaml:"session_expiry,omitempty" doc:"5.0: the Session Expiry Interval"`
	KeepAlive     time.Duration `yaml:"keep_alive,omitempty" doc:"default 60s"`
	Properties    *Properties   `yaml:"properties,omitempty" doc:"5.0: further properties of CONNECT"`
	Will          *WillMessage  `yaml:"will,omitempty" doc:"the Will of each client"`

	Target      string     `yaml:"target,omitempty" doc:"the server's URL where it is not the run's: another listener, ws or tls"`
	Username    string     `yaml:"username,omitempty" doc:"template"`
	Password    string     `yaml:"password,omitempty" doc:"template"`
	Credentials string     `yaml:"credentials,omitempty" doc:"a CSV file, one client a line in turn: user name, password and, where given, client identifier"`
	TLS         *ClientTLS `yaml:"tls,omitempty" doc:"certificates of each client"`

	Subscribe []Subscription `yaml:"subscribe,omitempty" doc:"what each client subscribes to when its session is new"`
	Publish   []Publication  `yaml:"publish,omitempty" doc:"what each client publishes"`
	Respond   *Respond       `yaml:"respond,omitempty" doc:"5.0: answer every message that has a Response Topic"`

	Link      *Link      `yaml:"link,omitempty" doc:"the network between client and server"`
	Reconnect *Reconnect `yaml:"reconnect,omitempty" doc:"what a client does when its connection ends; default it comes back after 100ms, and later from attempt to attempt"`
}

// WillMessage is the Will Message of a group's clients.
type WillMessage struct {
	Topic      string        `yaml:"topic" doc:"template"`
	Payload    string        `yaml:"payload,omitempty" doc:"template"`
	QoS        uint8         `yaml:"qos,omitempty" doc:"0, 1 or 2"`
	Retain     bool          `yaml:"retain,omitempty" doc:"published as a retained message"`
	Delay      time.Duration `yaml:"delay,omitempty" doc:"5.0: the Will Delay Interval"`
	Properties *Properties   `yaml:"properties,omitempty" doc:"5.0"`
}

// ClientTLS are the certificates that each client shows. The authorities are the run's.
type ClientTLS struct {
	Cert string `yaml:"cert" doc:"template: a PEM file"`
	Key  string `yaml:"key" doc:"template: a PEM file"`
}

// Subscription is one Topic Filter.
type Subscription struct {
	Filter            string `yaml:"filter" doc:"template"`
	QoS               uint8  `yaml:"qos,omitempty" doc:"the maximum QoS asked for"`
	Share             string `yaml:"share,omitempty" doc:"the name of a shared subscription's group: the filter is written behind $share/NAME/"`
	NoLocal           bool   `yaml:"no_local,omitempty" doc:"5.0"`
	RetainAsPublished bool   `yaml:"retain_as_published,omitempty" doc:"5.0"`
	RetainHandling    uint8  `yaml:"retain_handling,omitempty" doc:"5.0: 0, 1 or 2"`
	Identifier        uint32 `yaml:"identifier,omitempty" doc:"5.0: the Subscription Identifier"`
}

// Publication is a stream of messages that every client of a group publishes.
type Publication struct {
	Topic string `yaml:"topic" doc:"template"`
	// Topics is how many values {topic} takes in turn.
	Topics int    `yaml:"topics,omitempty" doc:"how many topics each client goes through: {topic} counts from 0; default 1, and with {each:GROUP} the number of its clients"`
	QoS    QoSMix `yaml:"qos,omitempty" doc:"0, 1 or 2, or shares such as {0: 70, 1: 20, 2: 10}"`
	Retain bool   `yaml:"retain,omitempty" doc:"retained messages"`

	Rate      Rate          `yaml:"rate,omitempty" doc:"of each client, such as 10/s, 600/min or 1/h; in the closed model left out"`
	GroupRate Rate          `yaml:"group_rate,omitempty" doc:"of the whole group, shared evenly among its clients, instead of rate"`
	Arrival   string        `yaml:"arrival,omitempty" doc:"even spaces messages evenly, each client at an offset of its own; poisson draws the gaps; together lets all clients publish at one instant; default even" enum:"even,poisson,together"`
	Count     uint64        `yaml:"count,omitempty" doc:"how many messages each client publishes at most; default no limit"`
	Start     time.Duration `yaml:"start,omitempty" doc:"how long after the first phase begins"`

	Size Size `yaml:"size,omitempty" doc:"bytes of payload: 64, {min: 16, max: 1024} or {mean: 256, deviation: 64}; default 64"`
	// Payload is the user's payload; where it is set, what verifies the message travels in a User Property (5.0).
	Payload    string      `yaml:"payload,omitempty" doc:"template: text or JSON; what proves the message then travels in a User Property in 5.0, and cannot be proven in 3.1.1 unless the text holds {proof}"`
	File       string      `yaml:"file,omitempty" doc:"a file whose content is the payload"`
	Properties *Properties `yaml:"properties,omitempty" doc:"5.0: properties of PUBLISH; texts are templates"`
}

// Respond says how requests are answered.
type Respond struct {
	QoS  uint8 `yaml:"qos,omitempty" doc:"of the answers"`
	Size Size  `yaml:"size,omitempty" doc:"bytes of the answer's payload; default the request's payload is sent back"`
}

// Link is a constrained network, applied in the client's own connection, apart from what the real one does.
type Link struct {
	Up        Bandwidth     `yaml:"up,omitempty" doc:"from client to server, such as 20kbit/s or 2KB/s"`
	Down      Bandwidth     `yaml:"down,omitempty" doc:"from server to client"`
	Delay     time.Duration `yaml:"delay,omitempty" doc:"each way"`
	Jitter    time.Duration `yaml:"jitter,omitempty" doc:"each way: up to so much more, order kept"`
	CutEvery  time.Duration `yaml:"cut_every,omitempty" doc:"the connection is reset about so often, in the midst of whatever is under way"`
	CutFor    time.Duration `yaml:"cut_for,omitempty" doc:"how long nothing can be dialled after a cut"`
	HalfOpen  time.Duration `yaml:"half_open,omitempty" doc:"instead of a reset the connection falls silent for so long, then is reset"`
	CutJitter time.Duration `yaml:"cut_jitter,omitempty" doc:"cut_every varies by so much up and down; default a quarter of it"`
}

// Reconnect says how clients come back.
type Reconnect struct {
	Never bool          `yaml:"never,omitempty" doc:"they stay away"`
	After time.Duration `yaml:"after,omitempty" doc:"the first pause; default 100ms"`
	Max   time.Duration `yaml:"max,omitempty" doc:"the longest pause: each is twice the one before; default 10s"`
	// Jitter is a share of the pause.
	Jitter float64 `yaml:"jitter,omitempty" doc:"the share of the pause that is random: 0 to 1"`
}

// Phase is one stretch of a run.
type Phase struct {
	Name string        `yaml:"name,omitempty" doc:"names the phase in results; default its kind"`
	Kind string        `yaml:"kind" doc:"what happens" enum:"ramp,hold,step,spike,storm,churn,takeover,idle"`
	For  time.Duration `yaml:"for" doc:"how long"`

	// From and To are factors on the offered rate. Hold uses To. Zero values mean 1, except in a ramp, which comes from 0 where
	// From is not set, and goes down to 0 where only From is.
	From  float64 `yaml:"from,omitempty" doc:"ramp, step: the factor on every rate at the beginning; default 0 for ramp"`
	To    float64 `yaml:"to,omitempty" doc:"the factor on every rate at the end; hold, storm, churn, takeover: throughout; spike: at its height; default 1, and of a ramp with from nothing: it goes down"`
	Steps int     `yaml:"steps,omitempty" doc:"step: into how many equal stretches the way from one factor to the other is cut; default 5"`

	Groups []string `yaml:"groups,omitempty" doc:"storm, churn, takeover: which groups; default all"`
	Share  float64  `yaml:"share,omitempty" doc:"storm: the share of the clients that are cut at once; default 1"`
	Rate   Rate     `yaml:"rate,omitempty" doc:"churn: clients that disconnect and connect anew per second; takeover: second connections with a Client Identifier in use per second; storm: connections per second at the return"`
	Abrupt bool     `yaml:"abrupt,omitempty" doc:"churn: without DISCONNECT, so that Wills are published"`
	QoS    *uint8   `yaml:"qos,omitempty" doc:"overrides the QoS of every publication and subscription during the phase: a ladder"`
	Window int      `yaml:"window,omitempty" doc:"overrides the window during the phase"`
}
