// Reads a log that Mainstay wrote with code that Mainstay's authors did not write: golang.org/x/mod/sumdb, which Go's own
// checksum database and the C2SP formats come from.
//
//	c2sp-verify FOLDER KEY [OLDER-CHECKPOINT…]
//
// FOLDER holds `checkpoint` and `tile/…`, as `mainstay journal export` writes them or as a pack has them below `log/`; KEY is
// the verifier key. Beside FOLDER, a pack's `manifest` and `proofs.jsonl` are checked too. Every byte of a hash is computed or
// authenticated by package tlog; only the paths of C2SP tlog-tiles, which leave out the height, are put together here.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Of every log in the form of C2SP tlog-tiles.
const height = 8

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: c2sp-verify FOLDER KEY [OLDER-CHECKPOINT…]")
		os.Exit(2)
	}
	if err := verify(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}

func verify(folder, key string, older []string) error {
	log, err := known(key)
	if err != nil {
		return err
	}
	tree, err := checkpoint(filepath.Join(folder, "checkpoint"), log)
	if err != nil {
		return err
	}
	fmt.Printf("checkpoint of %s: signed; %d entries under %s\n", log.name, tree.N, tree.Hash)
	hashes := tlog.TileHashReader(tree, tiles{folder})
	count, err := entries(folder, tree, hashes)
	if err != nil {
		return err
	}
	fmt.Printf("%d entries in their bundles, each proven to be in the tree\n", count)
	if err := everyTile(folder, tree, hashes); err != nil {
		return err
	}
	for _, path := range older {
		before, err := checkpoint(path, log)
		if err != nil {
			return err
		}
		if err := grown(before, tree, hashes); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fmt.Printf("it has only grown since %d entries under %s\n", before.N, before.Hash)
	}
	return pack(filepath.Dir(folder), log, tree)
}

// What is known of a log beforehand: its name, and the keys of its nodes.
type keys struct {
	name      string
	verifiers note.Verifiers
}

// One key, or a file with one a line.
func known(given string) (keys, error) {
	text := given
	if !strings.Contains(given, "+") {
		read, err := os.ReadFile(given)
		if err != nil {
			return keys{}, err
		}
		text = string(read)
	}
	var names []string
	var all []note.Verifier
	// A key that is given twice is one key; the library would call it ambiguous.
	seen := map[string]bool{}
	for _, line := range strings.Fields(text) {
		if seen[line] {
			continue
		}
		seen[line] = true
		verifier, err := note.NewVerifier(line)
		if err != nil {
			return keys{}, fmt.Errorf("%s: %w", line, err)
		}
		names = append(names, verifier.Name())
		all = append(all, verifier)
	}
	for _, name := range names {
		if name != names[0] {
			return keys{}, fmt.Errorf("keys of two logs: %s and %s", names[0], name)
		}
	}
	if len(all) == 0 {
		return keys{}, errors.New("there is no key")
	}
	return keys{names[0], note.VerifierList(all...)}, nil
}

// Opens a signed note and reads the three lines of a checkpoint (C2SP tlog-checkpoint).
func checkpoint(path string, log keys) (tlog.Tree, error) {
	message, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(message, log.verifiers)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", path, err)
	}
	wrong := fmt.Errorf("%s: these are not the lines of a checkpoint: %q", path, opened.Text)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != log.name {
		return tlog.Tree{}, wrong
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, wrong
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, wrong
	}
	return tlog.Tree{N: size, Hash: tlog.Hash(*(*[tlog.HashSize]byte)(root))}, nil
}

// A folder of tiles, for tlog.TileHashReader, which authenticates each against the tree.
type tiles struct{ folder string }

func (tiles) Height() int                     { return height }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range wanted {
		bytes, err := os.ReadFile(filepath.Join(t.folder, tilePath(tile)))
		if err != nil {
			return nil, err
		}
		read = append(read, bytes)
	}
	return read, nil
}

// C2SP tlog-tiles: as Go's own, without the height; entries where Go has data.
func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

// Reads every bundle of entries, and proves each entry to be where it stands.
func entries(folder string, tree tlog.Tree, hashes tlog.HashReader) (int64, error) {
	var position int64
	for position < tree.N {
		width := tree.N - position
		if width > 1<<height {
			width = 1 << height
		}
		path := tilePath(tlog.Tile{H: height, L: -1, N: position >> height, W: int(width)})
		rest, err := os.ReadFile(filepath.Join(folder, path))
		if err != nil {
			return position, err
		}
		for ; width > 0; width-- {
			entry, left, err := cut(rest)
			if err != nil {
				return position, fmt.Errorf("%s: %w", path, err)
			}
			proof, err := tlog.ProveRecord(tree.N, position, hashes)
			if err != nil {
				return position, fmt.Errorf("entry %d: %w", position, err)
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, position, tlog.RecordHash(entry)); err != nil {
				return position, fmt.Errorf("%s: entry %d: %w", path, position, err)
			}
			rest = left
			position++
		}
		if len(rest) != 0 {
			return position, fmt.Errorf("%s: %d bytes are left over", path, len(rest))
		}
	}
	return position, nil
}

// One entry of a bundle: two bytes of length before it.
func cut(bundle []byte) (entry, rest []byte, err error) {
	if len(bundle) < 2 {
		return nil, nil, errors.New("it ends before an entry")
	}
	length := int(binary.BigEndian.Uint16(bundle))
	if len(bundle) < 2+length {
		return nil, nil, errors.New("it ends within an entry")
	}
	return bundle[2 : 2+length], bundle[2+length:], nil
}

// Every tile that lies there is one that a log of that size has, and holds what tlog computes; and none is missing.
func everyTile(folder string, tree tlog.Tree, hashes tlog.HashReader) error {
	wanted := map[string]tlog.Tile{}
	for level := 0; tree.N>>(height*level) > 0; level++ {
		row := tree.N >> (height * level)
		for start := int64(0); start < row; start += 1 << height {
			width := row - start
			if width > 1<<height {
				width = 1 << height
			}
			tile := tlog.Tile{H: height, L: level, N: start >> height, W: int(width)}
			wanted[tilePath(tile)] = tile
		}
	}
	for path, tile := range wanted {
		computed, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		there, err := os.ReadFile(filepath.Join(folder, path))
		if err != nil {
			return err
		}
		if !bytes.Equal(there, computed) {
			return fmt.Errorf("%s: it is not the tile of this tree", path)
		}
	}
	fmt.Printf("%d tiles of hashes, each as computed\n", len(wanted))
	return filepath.WalkDir(filepath.Join(folder, "tile"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		below, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		_, known := wanted[filepath.ToSlash(below)]
		if !known && !strings.HasPrefix(filepath.ToSlash(below), "tile/entries/") {
			return fmt.Errorf("%s: a log of %d entries has no such tile", below, tree.N)
		}
		return nil
	})
}

// A proof of consistency between two trees of the log.
func grown(before, tree tlog.Tree, hashes tlog.HashReader) error {
	proof, err := tlog.ProveTree(tree.N, before.N, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash)
}

// What a pack has besides: its manifest is a signed note too, and its proofs are checked as they stand.
func pack(folder string, log keys, tree tlog.Tree) error {
	manifest, err := os.ReadFile(filepath.Join(folder, "manifest"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := note.Open(manifest, log.verifiers); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "proofs.jsonl"))
	if err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	for _, line := range lines {
		var row struct {
			Position int64
			Leaf     string
			Proof    []string
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return fmt.Errorf("proofs.jsonl: %w", err)
		}
		if err := included(row.Position, row.Leaf, row.Proof, tree); err != nil {
			return fmt.Errorf("proofs.jsonl: entry %d: %w", row.Position, err)
		}
	}
	fmt.Printf("the manifest is signed; %d proofs of inclusion hold as they stand\n", len(lines))
	return nil
}

func included(position int64, leaf string, path []string, tree tlog.Tree) error {
	hash, err := parse(leaf)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, text := range path {
		step, err := parse(text)
		if err != nil {
			return err
		}
		proof = append(proof, step)
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, position, hash)
}

func parse(text string) (tlog.Hash, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != tlog.HashSize {
		return tlog.Hash{}, fmt.Errorf("%q is no hash", text)
	}
	return tlog.Hash(*(*[tlog.HashSize]byte)(raw)), nil
}
