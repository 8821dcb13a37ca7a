package main

import (
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
)

// logger writes to standard error, which is where everything goes that is no
// result: lines for a person, or JSON with -o json.
func (c *cli) logger(level zapcore.Level) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.ISO8601TimeEncoder
	config.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewConsoleEncoder(config)
	if c.json() {
		encoder = zapcore.NewJSONEncoder(config)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(c.stderr)), level))
}

// actorSystem logs through zap like everything else. What Proto.Actor says of
// restarts, drover says itself and better.
func actorSystem(log *zap.Logger) *actor.ActorSystem {
	handler := zapslog.NewHandler(log.Named("actor").WithOptions(zap.IncreaseLevel(zap.WarnLevel)).Core())
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(handler)
	}))
}
