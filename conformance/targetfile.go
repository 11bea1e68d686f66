package conformance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/mqlab/mqlab/internal/process"
	"github.com/mqlab/mqlab/internal/transport"
)

// Target describes a server under test, as a target file holds it: everything that the suite
// cannot find out by itself. Secrets may stand in files or in the environment instead.
type Target struct {
	Name  string `yaml:"name,omitempty"`   // what reports call it
	URL   string `yaml:"url,omitempty"`    // may hold {port} where cmd starts the target
	WSURL string `yaml:"ws_url,omitempty"` // may hold {ws_port}
	Cmd   string `yaml:"cmd,omitempty"`    // starts the target: {port}, {ws_port} and {dir} are filled in

	Username     string `yaml:"username,omitempty"`
	Password     string `yaml:"password,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"` // its first line
	PasswordEnv  string `yaml:"password_env,omitempty"`  // name of a variable

	BadUsername     string `yaml:"bad_username,omitempty"` // a login that the target refuses
	BadPassword     string `yaml:"bad_password,omitempty"`
	BadPasswordFile string `yaml:"bad_password_file,omitempty"`
	BadPasswordEnv  string `yaml:"bad_password_env,omitempty"`

	ForbiddenTopic string `yaml:"forbidden_topic,omitempty"`
	AuthMethod     string `yaml:"auth_method,omitempty"`
	ClientIDPrefix string `yaml:"client_id_prefix,omitempty"`
	TopicPrefix    string `yaml:"topic_prefix,omitempty"`

	TLS *TargetTLS `yaml:"tls,omitempty"`

	Versions        Versions       `yaml:"mqtt,omitempty"`
	Timeout         *time.Duration `yaml:"timeout,omitempty"`
	Patience        float64        `yaml:"patience,omitempty"`
	Parallel        int            `yaml:"parallel,omitempty"`
	Fast            bool           `yaml:"fast,omitempty"`
	NoGlobalFilters bool           `yaml:"no_global_filters,omitempty"`

	Expected     []ExpectedFinding `yaml:"expected,omitempty"`
	ExpectedFile string            `yaml:"expected_file,omitempty"` // a baseline file
}

// TargetTLS names the files that a TLS target asks for.
type TargetTLS struct {
	CAFile     string `yaml:"ca_file,omitempty"`
	CertFile   string `yaml:"cert_file,omitempty"`
	KeyFile    string `yaml:"key_file,omitempty"`
	ServerName string `yaml:"server_name,omitempty"`
	Insecure   bool   `yaml:"insecure,omitempty"`
}

// maxTargetFile bounds a target file, in bytes.
const maxTargetFile = 1 << 20

// targetFile is one target, or a list of them.
type targetFile struct {
	Target  `yaml:",inline"`
	Targets []Target `yaml:"targets,omitempty"`
}

// ReadTargets reads a target file. The error names every entry that makes no sense.
func ReadTargets(r io.Reader) ([]Target, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxTargetFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxTargetFile {
		return nil, fmt.Errorf("the target file is larger than %d bytes", maxTargetFile)
	}
	var file targetFile
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		return nil, err
	}
	targets := file.Targets
	if len(targets) == 0 {
		targets = []Target{file.Target}
	} else if file.URL != "" || file.Cmd != "" || file.Name != "" {
		return nil, errors.New("the target file describes one target and a list of targets: put all of them under targets")
	}
	var errs []error
	for i := range targets {
		at := ""
		if len(file.Targets) > 0 {
			at = fmt.Sprintf("targets[%d].", i)
		}
		errs = append(errs, targets[i].check(at)...)
	}
	return targets, errors.Join(errs...)
}

// check reports what is wrong with the target, each problem by the path of its field.
func (t *Target) check(at string) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s%s: %s", at, field, fmt.Sprintf(format, args...)))
	}
	if t.URL == "" && t.Cmd == "" {
		bad("url", "neither url nor cmd says what to test: write one of them")
	}
	for _, f := range []struct{ field, url, hole string }{{"url", t.URL, "{port}"}, {"ws_url", t.WSURL, "{ws_port}"}} {
		if f.url == "" {
			continue
		}
		if _, err := transport.Parse(strings.ReplaceAll(f.url, f.hole, "1883")); err != nil {
			bad(f.field, "%v", err)
		}
	}
	if t.Cmd != "" {
		if _, err := process.Split(t.Cmd); err != nil {
			bad("cmd", "%v", err)
		}
	}
	only := func(field string, values ...string) {
		n := 0
		for _, v := range values {
			if v != "" {
				n++
			}
		}
		if n > 1 {
			bad(field, "it stands there in several forms: write one of %s, %s_file and %s_env", field, field, field)
		}
	}
	only("password", t.Password, t.PasswordFile, t.PasswordEnv)
	only("bad_password", t.BadPassword, t.BadPasswordFile, t.BadPasswordEnv)
	if t.Patience < 0 || t.Parallel < 0 || t.Timeout != nil && *t.Timeout <= 0 {
		bad("patience", "patience, parallel and timeout must be positive")
	}
	if len(t.Expected) > 0 && t.ExpectedFile != "" {
		bad("expected", "findings are listed here and in expected_file: write one of them")
	}
	if err := checkExpected(t.Expected); err != nil {
		bad("expected", "%v", err)
	}
	return errs
}

// Apply fills in what the target says into a configuration. Files are looked for from dir on;
// getenv reads the environment.
func (t *Target) Apply(cfg *Config, dir string, getenv func(string) string) error {
	set := func(field *string, value string) {
		if value != "" {
			*field = value
		}
	}
	password, err := secret("password", t.Password, t.PasswordFile, t.PasswordEnv, dir, getenv)
	if err != nil {
		return err
	}
	badPassword, err := secret("bad_password", t.BadPassword, t.BadPasswordFile, t.BadPasswordEnv, dir, getenv)
	if err != nil {
		return err
	}
	set(&cfg.Name, t.Name)
	set(&cfg.Target, t.URL)
	set(&cfg.WSTarget, t.WSURL)
	set(&cfg.Cmd, t.Cmd)
	set(&cfg.Username, t.Username)
	set(&cfg.Password, password)
	set(&cfg.BadUsername, t.BadUsername)
	set(&cfg.BadPassword, badPassword)
	set(&cfg.ForbiddenTopic, t.ForbiddenTopic)
	set(&cfg.AuthMethod, t.AuthMethod)
	set(&cfg.ClientIDPrefix, t.ClientIDPrefix)
	set(&cfg.TopicPrefix, t.TopicPrefix)
	if t.URL != "" {
		if u, err := transport.Parse(strings.ReplaceAll(t.URL, "{port}", "1883")); err == nil {
			if cfg.Username == "" {
				cfg.Username = u.Username
			}
			if cfg.Password == "" {
				cfg.Password = u.Password
			}
		}
	}
	if x := t.TLS; x != nil {
		cfg.TLS, err = transport.TLS{
			CAFile: within(dir, x.CAFile), CertFile: within(dir, x.CertFile), KeyFile: within(dir, x.KeyFile),
			ServerName: x.ServerName, Insecure: x.Insecure,
		}.Client()
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if t.Versions != 0 {
		cfg.Versions = t.Versions
	}
	if t.Timeout != nil {
		cfg.Timeout = *t.Timeout
	}
	if t.Patience > 0 {
		cfg.Patience = t.Patience
	}
	if t.Parallel > 0 {
		cfg.Parallel = t.Parallel
	}
	cfg.Fast = cfg.Fast || t.Fast
	cfg.NoGlobalFilters = cfg.NoGlobalFilters || t.NoGlobalFilters
	if len(t.Expected) > 0 {
		cfg.Baseline = &Baseline{Target: t.Name, Findings: t.Expected}
	}
	if t.ExpectedFile != "" {
		f, err := os.Open(within(dir, t.ExpectedFile))
		if err != nil {
			return fmt.Errorf("expected_file: %w", err)
		}
		defer f.Close()
		if cfg.Baseline, err = ReadBaseline(f); err != nil {
			return fmt.Errorf("expected_file %s: %w", t.ExpectedFile, err)
		}
	}
	return nil
}

// within makes a path that stands in a file relative to the folder of that file.
func within(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// secret returns the secret, from wherever the file says that it is.
func secret(field, value, file, variable, dir string, getenv func(string) string) (string, error) {
	switch {
	case file != "":
		b, err := os.ReadFile(within(dir, file))
		if err != nil {
			return "", fmt.Errorf("%s_file: %w", field, err)
		}
		line, _, _ := strings.Cut(string(b), "\n")
		return strings.TrimSuffix(line, "\r"), nil
	case variable != "":
		v := getenv(variable)
		if v == "" {
			return "", fmt.Errorf("%s_env: the variable %s is not set", field, variable)
		}
		return v, nil
	}
	return value, nil
}
