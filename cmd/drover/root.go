package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set when a release is built.
var version = "dev"

// cli is one call of the program.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	global         globalFlags
}

// globalFlags may stand before or after the subcommand.
type globalFlags struct {
	endpoints          []string
	namespace          string
	dataDir            string
	cacert, cert, key  string
	user, passwordFile string
	requestTimeout     time.Duration
	output             outputFormat
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "drover",
		Short: "Durable background processes on etcd",
		Long: `drover drives durable processes to their end, on whichever node is alive to do it.

  drover run -- make release            one durable command, on this machine
  drover serve --allow exec             a node, with an etcd of its own
  drover start exec -- ./nightly.sh     a durable command, for any node to run`,
		Version:       version,
		SilenceErrors: true, // printed once, by exit
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	c.addGlobalFlags(root.PersistentFlags())
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return c.global.check() }
	offer(root, "output", completeOneOf(string(formatText), string(formatJSON)))
	for _, group := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Running things:", []*cobra.Command{c.runCommand(), c.serveCommand()}},
		{"Processes:", []*cobra.Command{
			c.startCommand(), c.getCommand(), c.listCommand(), c.waitCommand(), c.outputCommand(), c.logsCommand(),
			c.cancelCommand(), c.abandonCommand(), c.retryCommand(), c.pruneCommand(), c.watchCommand(), c.doctorCommand(),
		}},
		{"The cluster:", []*cobra.Command{
			c.statusCommand(), c.nodesCommand(), c.queuesCommand(), c.pauseCommand(), c.resumeCommand(), c.pokeCommand(),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, cmd := range group.commands {
			cmd.GroupID = group.title
			root.AddCommand(cmd)
		}
	}
	return root
}

func (c *cli) addGlobalFlags(f *pflag.FlagSet) {
	g := &c.global
	f.StringSliceVar(&g.endpoints, "endpoints", envList("DROVER_ENDPOINTS"), "etcd to use, as URL,... (env DROVER_ENDPOINTS)")
	f.StringVarP(&g.namespace, "namespace", "n", envOr("DROVER_NAMESPACE", "drover"), "part of etcd to use (env DROVER_NAMESPACE)")
	f.StringVar(&g.dataDir, "data-dir", "./drover-data", "directory of the embedded etcd")
	f.StringVar(&g.cacert, "cacert", "", "file with the CA that signed etcd's certificate")
	f.StringVar(&g.cert, "cert", "", "file with the client certificate")
	f.StringVar(&g.key, "key", "", "file with the client certificate's key")
	f.StringVar(&g.user, "user", "", "etcd user; its password is in DROVER_PASSWORD or --password-file")
	f.StringVar(&g.passwordFile, "password-file", "", "file with the etcd user's password")
	f.DurationVar(&g.requestTimeout, "request-timeout", 5*time.Second, "limit for a single request to etcd")
	f.VarP(&g.output, "output", "o", "text or json")
}

func (g *globalFlags) check() error {
	if g.requestTimeout <= 0 {
		return usage(fmt.Errorf("--request-timeout %s: it must be positive", g.requestTimeout))
	}
	if (g.cert == "") != (g.key == "") {
		return usage(errors.New("--cert and --key go together"))
	}
	if g.passwordFile != "" && g.user == "" {
		return usage(errors.New("--password-file needs --user"))
	}
	return nil
}

// noSuchCommand is for what cobra takes for an argument of the root.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return usage(errors.New(text))
}

// args makes cobra's checks of the number of arguments usage errors.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(err)
		}
		return nil
	}
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func envList(name string) []string {
	if v := os.Getenv(name); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}
