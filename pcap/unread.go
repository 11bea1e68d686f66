package pcap

import (
	"crypto/tls"
	"fmt"
)

// Unread tells of a TLS connection that cannot be decrypted, and so of what it carries nothing is known.
type Unread struct {
	Stream  *Stream
	Version string // of TLS; empty where the handshake does not show it
	Suite   string // its name, or number; empty where the handshake does not show it
	Why     string
}

// String is one sentence without a full stop.
func (u *Unread) String() string {
	what := "TLS"
	if u.Version != "" {
		what = u.Version
	}
	if u.Suite != "" {
		what += " with " + u.Suite
	}
	return fmt.Sprintf("stream %d from %s to %s, %s, could not be read: %s", u.Stream.ID, u.Stream.Client, u.Stream.Server, what, u.Why)
}

func versionName(version int) string {
	if version == 0 {
		return ""
	}
	if version == 0x0300 {
		return "SSL 3.0"
	}
	return tls.VersionName(uint16(version))
}

// otherSuites names suites that TLS libraries still offer and crypto/tls does not know.
var otherSuites = map[uint16]string{
	0x0000: "TLS_NULL_WITH_NULL_NULL", 0x0001: "TLS_RSA_WITH_NULL_MD5", 0x0002: "TLS_RSA_WITH_NULL_SHA", 0x003B: "TLS_RSA_WITH_NULL_SHA256",
	0x0004: "TLS_RSA_WITH_RC4_128_MD5", 0x0016: "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA", 0x008B: "TLS_PSK_WITH_3DES_EDE_CBC_SHA",
	0x0041: "TLS_RSA_WITH_CAMELLIA_128_CBC_SHA", 0x0084: "TLS_RSA_WITH_CAMELLIA_256_CBC_SHA",
	0x0045: "TLS_DHE_RSA_WITH_CAMELLIA_128_CBC_SHA", 0x0088: "TLS_DHE_RSA_WITH_CAMELLIA_256_CBC_SHA",
	0x00BA: "TLS_RSA_WITH_CAMELLIA_128_CBC_SHA256", 0x00BE: "TLS_DHE_RSA_WITH_CAMELLIA_128_CBC_SHA256",
	0xC072: "TLS_ECDHE_ECDSA_WITH_CAMELLIA_128_CBC_SHA256", 0xC073: "TLS_ECDHE_ECDSA_WITH_CAMELLIA_256_CBC_SHA384",
	0xC076: "TLS_ECDHE_RSA_WITH_CAMELLIA_128_CBC_SHA256", 0xC077: "TLS_ECDHE_RSA_WITH_CAMELLIA_256_CBC_SHA384",
	0xC050: "TLS_RSA_WITH_ARIA_128_GCM_SHA256", 0xC051: "TLS_RSA_WITH_ARIA_256_GCM_SHA384",
	0xC052: "TLS_DHE_RSA_WITH_ARIA_128_GCM_SHA256", 0xC053: "TLS_DHE_RSA_WITH_ARIA_256_GCM_SHA384",
	0xC05C: "TLS_ECDHE_ECDSA_WITH_ARIA_128_GCM_SHA256", 0xC05D: "TLS_ECDHE_ECDSA_WITH_ARIA_256_GCM_SHA384",
	0xC060: "TLS_ECDHE_RSA_WITH_ARIA_128_GCM_SHA256", 0xC061: "TLS_ECDHE_RSA_WITH_ARIA_256_GCM_SHA384",
	0xC006: "TLS_ECDHE_ECDSA_WITH_NULL_SHA", 0xC010: "TLS_ECDHE_RSA_WITH_NULL_SHA",
	0x1304: "TLS_AES_128_CCM_SHA256", 0x1305: "TLS_AES_128_CCM_8_SHA256",
	0xC0AC: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", 0xC0AD: "TLS_ECDHE_ECDSA_WITH_AES_256_CCM",
	0xC0AE: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", 0xC0AF: "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8",
	0xC0A4: "TLS_PSK_WITH_AES_128_CCM", 0xC0A5: "TLS_PSK_WITH_AES_256_CCM", 0xC0A8: "TLS_PSK_WITH_AES_128_CCM_8", 0xC0A9: "TLS_PSK_WITH_AES_256_CCM_8",
	0x008C: "TLS_PSK_WITH_AES_128_CBC_SHA", 0x00A8: "TLS_PSK_WITH_AES_128_GCM_SHA256", 0x00AE: "TLS_PSK_WITH_AES_128_CBC_SHA256",
	0x0033: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA", 0x0039: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
	0x0067: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256", 0x006B: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256",
	0x009E: "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", 0x009F: "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
	0x00C6: "TLS_SM4_GCM_SM3", 0x00C7: "TLS_SM4_CCM_SM3",
}

func suiteName(id uint16, version int) string {
	if version == 0 {
		return ""
	}
	if name, ok := otherSuites[id]; ok {
		return name
	}
	if name := tls.CipherSuiteName(id); name[0] == 'T' {
		return name
	}
	return fmt.Sprintf("the cipher suite 0x%04X", id)
}
