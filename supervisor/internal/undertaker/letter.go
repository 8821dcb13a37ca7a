package undertaker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/drover-run/drover/supervisor/internal/witness"
)

// maxLetter is less than what an HTTP/2 server takes without having said how much it takes.
const maxLetter = 16 << 10

// stamp stands where the time goes: it is nowhere else in a letter.
var stamp = time.Date(1000, 1, 1, 1, 1, 1, 987654321, time.UTC)

// letter is the will as what is to be sent over a connection to one of those addresses, in three words; empty if there
// is none.
func (w Will) letter() string {
	if len(w.Addresses) == 0 {
		return ""
	}
	request, err := w.Testament.Request(w.evidence(), stamp)
	if err != nil || len(request) > maxLetter-prefixLen {
		return ""
	}
	content, err := call(request)
	text := []byte(stamp.Format(witness.TimeLayout))
	at := bytes.Index(content, text)
	if err != nil || at < 0 || at != bytes.LastIndex(content, text) {
		return ""
	}
	return strings.Join([]string{strings.Join(w.Addresses, ","), strconv.Itoa(at), base64.RawStdEncoding.EncodeToString(content)}, " ")
}

const prefixLen = 5 // of a gRPC message: whether it is compressed, and its length

// call is all that a client sends that makes one call of etcd's Txn.
func call(message []byte) ([]byte, error) {
	var b, block bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	headers := hpack.NewEncoder(&block)
	var failed error
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", "/etcdserverpb.KV/Txn"}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"te", "trailers"}, {"user-agent", "drover-witness"},
	} {
		if err := headers.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			failed = err
		}
	}
	data := make([]byte, prefixLen, prefixLen+len(message))
	data[1], data[2], data[3], data[4] = byte(len(message)>>24), byte(len(message)>>16), byte(len(message)>>8), byte(len(message))
	data = append(data, message...)
	for _, err := range []error{
		failed,
		f.WriteSettings(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}),
		f.WriteData(1, true, data),
	} {
		if err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// Resolve returns the addresses that a letter can be sent to, as package witness takes them. There are none if etcd asks
// for more than a letter: for TLS, or for a password.
func (a Access) Resolve(ctx context.Context) (addresses []string) {
	if secure, err := a.tls(); secure != nil || err != nil || a.Username != "" {
		return nil
	}
	for _, endpoint := range a.Endpoints {
		if path, ok := unixPath(endpoint); ok {
			addresses = append(addresses, witness.AddressUnix+path)
			continue
		}
		address := endpoint
		if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
			address = u.Host
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			continue
		}
		found, err := net.DefaultResolver.LookupIPAddr(ctx, host)
		if err != nil {
			continue
		}
		for _, ip := range found {
			if number, err := strconv.ParseUint(port, 10, 16); err == nil && ip.Zone == "" {
				addresses = append(addresses, witness.AddressIP+hex.EncodeToString(ip.IP.To16())+":"+strconv.FormatUint(number, 10))
			}
		}
	}
	return addresses
}

// unixPath says whether the endpoint is a Unix socket whose path can travel as part of a word.
func unixPath(endpoint string) (path string, ok bool) {
	path, ok = strings.CutPrefix(endpoint, "unix:")
	path = strings.TrimPrefix(path, "//")
	return path, ok && !strings.ContainsAny(path, ", \t\n")
}
