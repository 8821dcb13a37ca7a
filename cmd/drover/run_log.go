package main

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// cutByHandover is what is said of requests and watches whose server has ended.
// Where several runs share an etcd that is nothing to tell anybody: the next one
// serves within a second. If none does, the share itself says so.
var cutByHandover = map[string]bool{
	"the watch was lost, a new one is made":                 true,
	"a drive failed, the next are logged once one succeeds": true,
	"session not renewed":                                   true,
	"session key not read":                                  true,
}

// quietHandovers is log without that.
func quietHandovers(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return quietCore{core} }))
}

type quietCore struct{ zapcore.Core }

func (c quietCore) With(fields []zapcore.Field) zapcore.Core { return quietCore{c.Core.With(fields)} }

func (c quietCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if cutByHandover[e.Message] {
		return ce
	}
	return c.Core.Check(e, ce)
}
