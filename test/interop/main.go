// Command interop is the other end for our mux: hashicorp/yamux itself, in either role, over one TCP connection on
// loopback. Each stream, opened by this end (-streams K) or accepted from the peer (-streams 0), behaves as -mode says.
// When the connection is closed it prints one JSON line with what happened and exits.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"log"
	"math/rand"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// A behaviour does its part on one stream and says how many bytes it moved.
type behaviour func(p *peer, stream *yamux.Stream) (int64, error)

var behaviours = map[string]behaviour{
	"echo":        echo,       // send back what comes, then end
	"sink":        sink,       // read to the end, answer with the sum, then end
	"source":      source,     // send -bytes, then end
	"check":       check,      // send -bytes, end, and read an echo of exactly that
	"reset":       reset,      // read something, then reset
	"await-reset": awaitReset, // read until the peer resets, then close the session
	"drain":       drain,      // like echo, with a go-away at the first byte
	"refuse":      nil,        // accept nothing: with a backlog of one, the second stream is reset
}

// result is the line that the test reads.
type result struct {
	Streams    int      `json:"streams"`
	Bytes      int64    `json:"bytes"`
	Sum        string   `json:"sum"`        // SHA-256 of what the last source or sink moved
	Failures   []string `json:"failures"`   // of streams, as this end saw them
	Complaints []string `json:"complaints"` // of the yamux library about its peer
	Pinged     bool     `json:"pinged"`
}

type peer struct {
	session *yamux.Session
	mode    string
	streams int
	bytes   int64
	log     lockedBuffer

	lock   sync.Mutex
	result result
}

func main() {
	p := &peer{result: result{Failures: []string{}, Complaints: []string{}}}
	listen := flag.Bool("listen", false, "listen on loopback and print the address, instead of dialing")
	dial := flag.String("dial", "", "address to dial")
	role := flag.String("role", "server", "yamux role: client or server")
	deadline := flag.Duration("deadline", time.Minute, "exit after this time, whatever happens")
	flag.StringVar(&p.mode, "mode", "echo", "what a stream does")
	flag.IntVar(&p.streams, "streams", 0, "streams to open; 0 accepts them")
	flag.Int64Var(&p.bytes, "bytes", 0, "bytes a source or check sends on each stream")
	flag.Parse()
	time.AfterFunc(*deadline, func() { log.Fatal("deadline passed") })

	conn, err := connect(*listen, *dial)
	if err == nil {
		err = p.serve(conn, *role)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func connect(listen bool, address string) (net.Conn, error) {
	if !listen {
		return net.Dial("tcp", address)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	fmt.Println(listener.Addr())
	return listener.Accept()
}

func (p *peer) serve(conn net.Conn, role string) error {
	start := yamux.Server
	if role == "client" {
		start = yamux.Client
	}
	session, err := start(conn, p.config())
	if err != nil {
		return err
	}
	p.session = session
	if _, err := session.Ping(); err == nil {
		p.result.Pinged = true
	}
	var streams sync.WaitGroup
	for p.next(&streams) {
	}
	<-session.CloseChan()
	streams.Wait()
	return p.report()
}

func (p *peer) config() *yamux.Config {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.AcceptBacklog = 4096
	config.LogOutput = &p.log
	switch p.mode {
	case "reset":
		config.StreamCloseTimeout = time.Millisecond // the one way to make this library send RST on a stream
	case "refuse":
		config.AcceptBacklog = 1
	}
	return config
}

// next opens or accepts one stream and starts its behaviour; false when no other follows.
func (p *peer) next(streams *sync.WaitGroup) bool {
	act := behaviours[p.mode]
	if act == nil {
		return false
	}
	get := p.session.AcceptStream
	if p.streams > 0 {
		get = p.session.OpenStream
	}
	stream, err := get()
	if err != nil {
		if p.streams > 0 {
			p.note(0, err)
		}
		return false
	}
	p.result.Streams++
	streams.Add(1)
	go func() {
		defer streams.Done()
		p.note(act(p, stream))
	}()
	return p.streams == 0 || p.result.Streams < p.streams
}

func (p *peer) note(bytes int64, err error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.result.Bytes += bytes
	if err != nil {
		p.result.Failures = append(p.result.Failures, err.Error())
	}
}

func (p *peer) noteSum(sum hash.Hash) string {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.result.Sum = hex.EncodeToString(sum.Sum(nil))
	return p.result.Sum
}

func (p *peer) report() error {
	for _, line := range strings.Split(p.log.String(), "\n") {
		// A frame that was due when the peer closed the connection is nobody's fault.
		if strings.Contains(line, "[ERR]") && !strings.Contains(line, "Failed to write") {
			p.result.Complaints = append(p.result.Complaints, line)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(p.result)
}

func echo(_ *peer, stream *yamux.Stream) (int64, error) {
	moved, err := io.Copy(stream, stream)
	return moved, first(err, stream.Close())
}

func sink(p *peer, stream *yamux.Stream) (int64, error) {
	sum := sha256.New()
	moved, err := io.Copy(sum, stream)
	if err == nil {
		_, err = io.WriteString(stream, p.noteSum(sum))
	}
	return moved, first(err, stream.Close())
}

func source(p *peer, stream *yamux.Stream) (int64, error) {
	sum := sha256.New()
	moved, err := io.Copy(io.MultiWriter(stream, sum), p.payload(stream))
	p.noteSum(sum)
	err = first(err, stream.Close())
	if err == nil {
		_, err = io.Copy(io.Discard, stream)
	}
	return moved, err
}

func check(p *peer, stream *yamux.Stream) (int64, error) {
	sent, got := sha256.New(), sha256.New()
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.MultiWriter(stream, sent), p.payload(stream))
		written <- first(err, stream.Close())
	}()
	moved, err := io.Copy(got, stream)
	err = first(<-written, err)
	if err == nil && !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		err = fmt.Errorf("stream %d: the echo of %d bytes differs", stream.StreamID(), moved)
	}
	return moved, err
}

func reset(_ *peer, stream *yamux.Stream) (int64, error) {
	n, err := stream.Read(make([]byte, 1))
	return int64(n), first(err, stream.Close())
}

func awaitReset(p *peer, stream *yamux.Stream) (int64, error) {
	defer p.session.Close()
	moved, err := io.Copy(io.Discard, stream)
	if errors.Is(err, yamux.ErrConnectionReset) {
		return moved, nil
	}
	return moved, fmt.Errorf("stream ended with %v instead of a reset", err)
}

func drain(p *peer, stream *yamux.Stream) (int64, error) {
	start := make([]byte, 1)
	if _, err := io.ReadFull(stream, start); err != nil {
		return 0, err
	}
	if err := p.session.GoAway(); err != nil {
		return 0, err
	}
	moved, err := io.Copy(stream, io.MultiReader(bytes.NewReader(start), stream))
	return moved, first(err, stream.Close())
}

// payload is -bytes of noise, different for each stream.
func (p *peer) payload(stream *yamux.Stream) io.Reader {
	return io.LimitReader(rand.New(rand.NewSource(int64(stream.StreamID()))), p.bytes)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// lockedBuffer takes the library's log lines from several goroutines.
type lockedBuffer struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(line []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.Write(line)
}

func (b *lockedBuffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.String()
}
