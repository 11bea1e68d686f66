package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
)

// TLS names the files and options from which a tls.Config is built. The zero value makes a client
// that trusts the system's authorities.
type TLS struct {
	CAFile   string // authorities to trust, PEM; for a server, those that sign client certificates
	CertFile string // own certificate chain, PEM
	KeyFile  string // own key, PEM; empty: it is in CertFile

	ServerName string   // name to expect in the server's certificate; empty: the host of the address
	ALPN       []string // application protocols to offer or accept, "mqtt" for example; empty: none
	Insecure   bool     // client: accept any certificate

	// ClientCertOptional makes a server with a CAFile verify a client certificate that is sent, but not
	// demand one.
	ClientCertOptional bool
}

// Client builds the configuration of a client.
func (t TLS) Client() (*tls.Config, error) {
	cfg := &tls.Config{ServerName: t.ServerName, NextProtos: t.ALPN, InsecureSkipVerify: t.Insecure}
	var err error
	if cfg.RootCAs, err = t.pool(); err != nil {
		return nil, err
	}
	if t.CertFile == "" {
		if t.KeyFile != "" {
			return nil, fmt.Errorf("a key file %s is given without a certificate file; give both or neither", t.KeyFile)
		}
		return cfg, nil
	}
	cfg.Certificates, err = t.certificate()
	return cfg, err
}

// Server builds the configuration of a server. With a CAFile, clients need a certificate signed by it.
func (t TLS) Server() (*tls.Config, error) {
	if t.CertFile == "" {
		return nil, ErrNoCertificate
	}
	certs, err := t.certificate()
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: certs, NextProtos: t.ALPN}
	if cfg.ClientCAs, err = t.pool(); err != nil {
		return nil, err
	}
	switch {
	case cfg.ClientCAs == nil:
	case t.ClientCertOptional:
		cfg.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

func (t TLS) pool() (*x509.CertPool, error) {
	if t.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the CA file %s: it has no certificate in PEM form", t.CAFile)
	}
	return pool, nil
}

func (t TLS) certificate() ([]tls.Certificate, error) {
	key := t.KeyFile
	if key == "" {
		key = t.CertFile
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s with the key %s: %w", t.CertFile, key, err)
	}
	return []tls.Certificate{cert}, nil
}

// ConnectionState returns the TLS state of a connection made here, beneath WebSocket framing too.
// It is false where there is no TLS.
func ConnectionState(c net.Conn) (tls.ConnectionState, bool) {
	if w, ok := c.(*WSConn); ok {
		c = w.conn
	}
	t, ok := c.(*tls.Conn)
	if !ok {
		return tls.ConnectionState{}, false
	}
	return t.ConnectionState(), true
}
