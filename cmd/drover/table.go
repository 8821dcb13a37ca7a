package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// table prints rows in columns. Rows that come later, as those of a list that is
// followed, keep to the columns of the first.
type table struct {
	to     io.Writer
	widths []int // of the columns; at least, before the first rows are printed
	fitted bool
}

// printTable prints rows in columns under a header.
func (c *cli) printTable(header []string, rows [][]string) error {
	t := table{to: c.stdout}
	return t.write(append([][]string{header}, rows...)...)
}

func (t *table) write(rows ...[]string) error {
	if !t.fitted {
		t.fit(rows)
		t.fitted = true
	}
	var b bytes.Buffer
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", max(0, t.widths[i]-utf8.RuneCountInString(cell))+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.Copy(t.to, &b)
	return err
}

func (t *table) fit(rows [][]string) {
	for _, row := range rows {
		t.widths = append(t.widths, slices.Repeat([]int{0}, max(0, len(row)-len(t.widths)))...)
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
}
