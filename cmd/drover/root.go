package main

import (
	"errors"
	"io"
	"os"
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
	passwordText       string // once it was read
	passwordRead       bool
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

		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.SetFlagErrorFunc(flagError)
	c.addGlobalFlags(root.PersistentFlags())
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return c.global.complete(cmd.Flags()) }
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
	refuseStrangers(root)
	return root
}

// refuseStrangers has the commands that cobra brings refuse the names of others
// than there are, like drover itself.
func refuseStrangers(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, names []string) error {
				found, rest, err := root.Find(names)
				if err != nil || found == root {
					return noSuchCommand(root, rest)
				}
				return nil
			}
		case "completion":
			cmd.Args = noSuchCommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

func (c *cli) addGlobalFlags(f *pflag.FlagSet) {
	g := &c.global
	g.namespace, g.dataDir, g.requestTimeout = "drover", "./drover-data", 5*time.Second
	f.Var(list(&g.endpoints, isEndpoint), "endpoints", "etcd to use, as URL,... (env DROVER_ENDPOINTS)")
	f.VarP(textValue{&g.namespace, isName}, "namespace", "n", "part of etcd to use (env DROVER_NAMESPACE)")
	f.Var(textValue{&g.dataDir, notEmpty}, "data-dir", "directory of the embedded etcd")
	f.Var(textValue{&g.cacert, isFile}, "cacert", "file with the CA that signed etcd's certificate")
	f.Var(textValue{&g.cert, isFile}, "cert", "file with the client certificate")
	f.Var(textValue{&g.key, isFile}, "key", "file with the client certificate's key")
	f.Var(textValue{&g.user, notEmpty}, "user", "etcd user; its password is in DROVER_PASSWORD or --password-file")
	f.Var(textValue{&g.passwordFile, isFile}, "password-file", "file with the etcd user's password")
	f.Var(positive(&g.requestTimeout), "request-timeout", "limit for a single request to etcd")
	f.VarP(&g.output, "output", "o", "text or json")
}

// complete takes from the environment what no flag has said, and checks what
// flags have to do with each other.
func (g *globalFlags) complete(f *pflag.FlagSet) error {
	for _, e := range []struct {
		variable, flag string
		value          pflag.Value
	}{
		{"DROVER_ENDPOINTS", "endpoints", list(&g.endpoints, isEndpoint)},
		{"DROVER_NAMESPACE", "namespace", textValue{&g.namespace, isName}},
	} {
		text := os.Getenv(e.variable)
		if text == "" || f.Changed(e.flag) {
			continue
		}
		if err := e.value.Set(text); err != nil {
			return usage(wrong(e.variable, text, err))
		}
	}
	if (g.cert == "") != (g.key == "") {
		return usage(errors.New("--cert and --key go together"))
	}
	if g.passwordFile != "" && g.user == "" {
		return usage(errors.New("--password-file needs --user"))
	}
	return nil
}
