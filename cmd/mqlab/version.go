package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "say which mqlab this is",
		Description: describe(`Says the version of the module, the revision it was built from where the build recorded one,
			the version of Go and the platform. Name them in a report: results of two versions need not compare.`,
			"mqlab version",
			"mqlab version --format json"),
		Flags: []cli.Flag{formatFlag("text", "json"), outputFlag()},
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "json")
			if err != nil {
				return err
			}
			info, _ := debug.ReadBuildInfo()
			v := versionOf(info)
			return e.writeResult(c.String("output"), func(out output) error {
				if format == "json" {
					return writeJSON(out, v)
				}
				_, err := fmt.Fprintln(out, v)
				return err
			})
		},
	}
}

// versionOf reads the build information; nil, as in a program built without modules, is allowed.
func versionOf(info *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v versionInfo) String() string {
	s := "mqlab " + v.Version
	if v.Revision != "" {
		s += " " + v.Revision[:min(12, len(v.Revision))]
		if v.Time != "" {
			s += " of " + v.Time
		}
		if v.Modified {
			s += ", modified"
		}
	}
	return s + " (" + v.Go + ", " + v.Platform + ")"
}
