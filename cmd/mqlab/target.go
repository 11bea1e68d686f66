package main

import (
	"crypto/tls"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/internal/transport"
)

// targetFlags are the flags of every command that connects to a broker.
func targetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "target", Aliases: []string{"t"}, Usage: "the broker's `URL`: mqtt:// mqtts:// ws:// wss:// unix://; without it the embedded broker"},
		&cli.StringFlag{Name: "username", Aliases: []string{"u"}, EnvVars: []string{"MQLAB_USERNAME"}, Usage: "log in as `NAME`"},
		&cli.StringFlag{Name: "password", EnvVars: []string{"MQLAB_PASSWORD"}, Usage: "log in with `PASSWORD`; better in the environment or a file"},
		&cli.StringFlag{Name: "password-file", Usage: "read the password from the first line of `FILE`"},
		&cli.StringFlag{Name: "cafile", Usage: "trust the certificate authorities in `FILE` (PEM)"},
		&cli.StringFlag{Name: "cert", Usage: "show the client certificate in `FILE` (PEM)"},
		&cli.StringFlag{Name: "key", Usage: "the private key of --cert in `FILE` (PEM)"},
		&cli.StringFlag{Name: "server-name", Usage: "expect the server's certificate to be for `NAME`"},
		&cli.BoolFlag{Name: "insecure", Usage: "do not verify the server's certificate"},
	}
}

// target is what the target flags say.
type target struct {
	url                string
	username, password string
	tls                *tls.Config // nil without a TLS flag
}

func targetFrom(c *cli.Context) (target, error) { return targetAt(c, c.String("target")) }

// targetAt is what the target flags say of the broker at the URL.
func targetAt(c *cli.Context, url string) (target, error) {
	t := target{url: url, username: c.String("username"), password: c.String("password")}
	if file := c.String("password-file"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return t, usagef("read the password: %w", err)
		}
		t.password, _, _ = strings.Cut(string(b), "\n")
		t.password = strings.TrimSuffix(t.password, "\r")
	}
	if t.url != "" {
		u, err := transport.Parse(strings.NewReplacer("{port}", "1", "{ws_port}", "1").Replace(t.url))
		if err != nil {
			return t, usagef("--target: %w", err)
		}
		if u.Username != "" && t.username == "" {
			t.username = u.Username
		}
		if u.Password != "" && t.password == "" {
			t.password = u.Password
		}
	}
	for _, flag := range []string{"cafile", "cert", "key", "server-name", "insecure"} {
		if !c.IsSet(flag) {
			continue
		}
		cfg, err := transport.TLS{
			CAFile: c.String("cafile"), CertFile: c.String("cert"), KeyFile: c.String("key"),
			ServerName: c.String("server-name"), Insecure: c.Bool("insecure"),
		}.Client()
		if err != nil {
			return t, usagef("%w", err)
		}
		t.tls = cfg
		break
	}
	return t, nil
}
