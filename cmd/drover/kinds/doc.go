// Package kinds holds the handlers of the kinds that come with the daemon.
//
//   - exec runs a command: Exec is its handler, Command what it runs, and ExecInput and ExecOutput are what stands in
//     the row. A command is watched by the node's witness, so it is gone, with all that it started in its process
//     group, when the node is; see supervisor.Witness.
//   - sleep waits, and noop does nothing.
//
// The output of a command is bounded, whatever it prints: of each stream the end is kept, in memory as in the row.
package kinds
