package etcdserver

import (
	"net"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	// A small process leaves about 2 KB of history; full speed fills 2 GiB in a
	// minute, and the quota counts the file, which compaction does not shrink.
	quotaBytes = 8 << 30
	retention  = "1m"

	// slow is when etcd warns about a request. Its own 100 ms are passed by any
	// busy machine.
	slow = 2 * time.Second
)

// peerURL is what the one member is known by to others, who don't exist. It
// stands in the data, so it must not change.
var peerURL = url.URL{Scheme: "http", Host: "127.0.0.1:0"}

// config is etcd's configuration, its URLs of this start in it. tcp is nil if
// only the socket is to be served.
func config(dataDir, socketDir string, tcp *net.TCPAddr) *embed.Config {
	c := embed.NewConfig()
	c.Name = "drover"
	c.Dir = dataDir
	c.AutoCompactionMode = embed.CompactorModePeriodic
	c.AutoCompactionRetention = retention
	c.QuotaBackendBytes = quotaBytes
	c.AuthToken = "" // nobody logs in, and etcd warns of its default
	// A feed of changes that is idle learns by these that it missed nothing, and
	// so does not fall behind what is compacted.
	c.WatchProgressNotifyInterval = 10 * time.Second
	c.WarningApplyDuration, c.WarningUnaryRequestDuration = slow, slow

	// The peer port has no authentication either, and who reaches it can write
	// into the log. Nobody has to, so it listens in the private directory. (This
	// listener takes its path from Host.)
	c.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: socketURL(socketDir, peerSocket).Path}}
	c.AdvertisePeerUrls = []url.URL{peerURL}
	c.InitialCluster = c.InitialClusterFromName(c.Name)

	clients := []url.URL{socketURL(socketDir, clientSocket)}
	c.AdvertiseClientUrls = clients
	if tcp != nil {
		clients = []url.URL{tcpURL(tcp), clients[0]}
		c.AdvertiseClientUrls = []url.URL{localURL(tcp), clients[1]}
	}
	c.ListenClientUrls = clients
	// HTTP/1 gets a socket of its own that nobody uses. Sharing one, etcd tells
	// the two apart by a connection's first bytes, and a connection that never
	// sends any keeps Close from returning.
	c.ListenClientHttpUrls = []url.URL{socketURL(socketDir, httpSocket)}
	// The JSON gateway would let any web page that the user opens write to
	// 127.0.0.1:2379, and with that run commands.
	c.EnableGRPCGateway = false
	return c
}
