package undertaker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
)

// Access is how etcd is reached. The files are contents, in PEM.
type Access struct {
	Endpoints  []string `json:"endpoints"`
	Username   string   `json:"username,omitempty"`
	Password   string   `json:"password,omitempty"`
	CA         []byte   `json:"ca,omitempty"`
	Cert       []byte   `json:"cert,omitempty"`
	Key        []byte   `json:"key,omitempty"`
	ServerName string   `json:"server_name,omitempty"`
}

// Will is what a node leaves with its witness for one session.
type Will struct {
	Access    Access             `json:"access"`
	Testament registry.Testament `json:"testament"`
	PID       int                `json:"pid"` // of the node
	Env       map[string]string  `json:"env,omitempty"`

	// Addresses are what Access.Resolve has found.
	Addresses []string `json:"-"`
}

// environment is what of the node's decides how etcd is reached: proxies, and where certificates are.
var environment = []string{
	"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG",
}

// Encode returns the will as one word, which holds the password and the key, and its letter as three more, if it has
// one.
func (w Will) Encode() (string, error) {
	w.Env = map[string]string{}
	for _, name := range environment {
		if value, set := os.LookupEnv(name); set {
			w.Env[name] = value
		}
	}
	content, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("encode the will of session %s: %w", w.Testament.Session, err)
	}
	return strings.TrimRight(base64.RawStdEncoding.EncodeToString(content)+" "+w.letter(), " "), nil
}

func decode(word []byte) (Will, error) {
	var w Will
	content, err := base64.RawStdEncoding.DecodeString(string(bytes.TrimSpace(word)))
	if err == nil {
		err = json.Unmarshal(content, &w)
	}
	return w, err
}

// Try reads a key in the way in which a will is executed.
func (a Access) Try(ctx context.Context, key string) error {
	client, err := a.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Get(ctx, key, clientv3.WithKeysOnly())
	return err
}

func (a Access) tls() (*tls.Config, error) {
	secure := len(a.CA) > 0 || len(a.Cert) > 0
	for _, e := range a.Endpoints {
		secure = secure || strings.HasPrefix(e, "https://") || strings.HasPrefix(e, "unixs://")
	}
	if !secure {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.ServerName}
	if len(a.CA) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(a.CA) {
			return nil, errors.New("CA: there is no certificate in it")
		}
	}
	if len(a.Cert) > 0 {
		pair, err := tls.X509KeyPair(a.Cert, a.Key)
		if err != nil {
			return nil, fmt.Errorf("Cert and Key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// dialTimeout has room for the password, which is slow to check on purpose.
const dialTimeout = 5 * time.Second

func (a Access) connect() (*clientv3.Client, error) {
	secure, err := a.tls()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{
		Endpoints: a.Endpoints, Username: a.Username, Password: a.Password, TLS: secure,
		DialTimeout: dialTimeout, Logger: zap.NewNop(),
	})
}
