// go_tlog_judge decides whether a folder is a sound C2SP tlog-tiles log, with nothing but Go's own
// golang.org/x/mod/sumdb/{note,tlog}.
//
//	go_tlog_judge LOG [OLDER_CHECKPOINT]
//
// LOG holds vkey, checkpoint and tile/. It is sound if the checkpoint is signed by the key and speaks for the log
// the key is named for; if the entries, hashed anew, give its root; if every tile of that size is exactly what
// those entries make it; and if proofs made from the tiles hold. With an older checkpoint of the log, its tree
// must be a beginning of the newer one. Exit 0 and a line "sound ..." or exit 1 and a line "unsound: ...".
//
// Hashes from tlog.TileHashReader are used only in proofs that are then checked against the root: before x/mod
// v0.40.0 (CVE-2026-56865) it lets up to two forged tiles pass as authenticated, and Debian 12 ships v0.7.0.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	// x/mod puts the tile height into its paths; C2SP fixes it at 8 and leaves it out.
	heightPrefix = "tile/8/"
	// x/mod calls an entry bundle "data", C2SP "entries".
	dataPrefix = "tile/8/data/"
)

func main() {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go_tlog_judge LOG [OLDER_CHECKPOINT]")
		os.Exit(2)
	}
	verdict, err := judge(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Println("unsound:", err)
		os.Exit(1)
	}
	fmt.Println("sound", verdict)
}

func judge(folder string, older []string) (string, error) {
	text, err := os.ReadFile(filepath.Join(folder, "vkey"))
	if err != nil {
		return "", err
	}
	verifier, err := note.NewVerifier(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return "", err
	}
	tree, err := openCheckpoint(filepath.Join(folder, "checkpoint"), verifier)
	if err != nil {
		return "", err
	}
	stored, err := hashEntries(folder, tree.N)
	if err != nil {
		return "", err
	}
	root, err := tlog.TreeHash(tree.N, stored)
	if err != nil {
		return "", err
	}
	if root != tree.Hash {
		return "", fmt.Errorf("the entries give root %v, the checkpoint says %v", root, tree.Hash)
	}
	if err := compareTiles(folder, tree.N, stored); err != nil {
		return "", err
	}
	if err := checkInclusion(folder, tree, stored); err != nil {
		return "", err
	}
	for _, path := range older {
		if err := checkConsistency(folder, path, tree, verifier); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s %d %v", verifier.Name(), tree.N, tree.Hash), nil
}

// openCheckpoint verifies the note and reads its three lines as strictly as the specification writes them.
func openCheckpoint(path string, verifier note.Verifier) (tlog.Tree, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, errors.New("the note is not a plain checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 1 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("tree size %q", lines[1])
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(raw) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("root hash %q", lines[2])
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], raw)
	return tree, nil
}

// memory keeps every hash of the tree in the order x/mod numbers them.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(m)) {
			return nil, fmt.Errorf("hash %d is not in the tree", index)
		}
		hashes[i] = m[index]
	}
	return hashes, nil
}

// hashEntries builds the whole tree from the entry bundles, without looking at any tile.
func hashEntries(folder string, size int64) (memory, error) {
	stored := make(memory, 0, 2*size)
	for first := int64(0); first < size; first += tileWidth {
		tile := tlog.Tile{H: tileHeight, L: -1, N: first / tileWidth, W: width(first, size)}
		data, err := readFile(folder, tile)
		if err != nil {
			return nil, err
		}
		for n := int64(0); n < int64(tile.W); n++ {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("%s ends inside an entry", layoutPath(tile))
			}
			length := int(binary.BigEndian.Uint16(data))
			hashes, err := tlog.StoredHashes(first+n, data[2:2+length], stored)
			if err != nil {
				return nil, err
			}
			stored = append(stored, hashes...)
			data = data[2+length:]
		}
		if len(data) != 0 {
			return nil, fmt.Errorf("%s has bytes after its last entry", layoutPath(tile))
		}
	}
	return stored, nil
}

// compareTiles demands every tile of a log of this size, each byte of it.
func compareTiles(folder string, size int64, stored memory) error {
	for level := 0; size>>(level*tileHeight) > 0; level++ {
		count := size >> (level * tileHeight)
		for first := int64(0); first < count; first += tileWidth {
			tile := tlog.Tile{H: tileHeight, L: level, N: first / tileWidth, W: width(first, count)}
			expected, err := tlog.ReadTileData(tile, stored)
			if err != nil {
				return err
			}
			found, err := readFile(folder, tile)
			if err != nil {
				return err
			}
			if !bytes.Equal(found, expected) {
				return fmt.Errorf("%s does not hold the hashes of the entries", layoutPath(tile))
			}
		}
	}
	return nil
}

// checkInclusion proves entries at both ends and in between from the tiles alone, as a client over HTTP would.
func checkInclusion(folder string, tree tlog.Tree, stored memory) error {
	reader := tlog.TileHashReader(tree, tileFiles{folder})
	for _, index := range []int64{0, tree.N / 3, tree.N / 2, tree.N - 1} {
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return err
		}
		leaf := stored[tlog.StoredHashIndex(0, index)]
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf); err != nil {
			return fmt.Errorf("inclusion of entry %d: %w", index, err)
		}
	}
	return nil
}

func checkConsistency(folder, path string, tree tlog.Tree, verifier note.Verifier) error {
	older, err := openCheckpoint(path, verifier)
	if err != nil {
		return fmt.Errorf("older checkpoint: %w", err)
	}
	if older.N > tree.N {
		return fmt.Errorf("the log shrank from %d to %d entries", older.N, tree.N)
	}
	proof, err := tlog.ProveTree(tree.N, older.N, tlog.TileHashReader(tree, tileFiles{folder}))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash); err != nil {
		return fmt.Errorf("the log of %d entries does not extend that of %d: %w", tree.N, older.N, err)
	}
	return nil
}

// tileFiles serves tiles to x/mod, which authenticates what it gets.
type tileFiles struct{ folder string }

func (t tileFiles) Height() int                     { return tileHeight }
func (t tileFiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tileFiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		var err error
		if data[i], err = readFile(t.folder, tile); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func readFile(folder string, tile tlog.Tile) ([]byte, error) {
	return os.ReadFile(filepath.Join(folder, filepath.FromSlash(layoutPath(tile))))
}

func layoutPath(tile tlog.Tile) string {
	path := tile.Path()
	if strings.HasPrefix(path, dataPrefix) {
		return "tile/entries/" + strings.TrimPrefix(path, dataPrefix)
	}
	return "tile/" + strings.TrimPrefix(path, heightPrefix)
}

// width of the tile that begins at place first, on a level with count places filled.
func width(first, count int64) int {
	if count-first < tileWidth {
		return int(count - first)
	}
	return tileWidth
}
