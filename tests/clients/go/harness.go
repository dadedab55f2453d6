package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// run is one scenario being played: its deadline, its names and the clients to close at the end.
type run struct {
	ctx       context.Context
	bootstrap string
	prefix    string
	names     int
	cleanups  []func()
}

// failure is what the checks panic with; any other panic is a bug of the scenario.
type failure struct{ text string }

func outcome(bootstrap, name string, scenario func(*run)) (detail string) {
	ctx, cancel := context.WithTimeout(context.Background(), scenarioTimeout)
	defer cancel()
	r := &run{ctx: ctx, bootstrap: bootstrap, prefix: "fg-" + name + "-" + randomHex(4)}
	defer func() {
		if p := recover(); p != nil {
			detail = describePanic(p)
		}
		for i := len(r.cleanups) - 1; i >= 0; i-- {
			r.cleanups[i]()
		}
	}()
	scenario(r)
	return ""
}

func describePanic(p any) string {
	if f, ok := p.(failure); ok {
		return f.text
	}
	return fmt.Sprintf("panic: %v", p)
}

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }

// randomBytes are incompressible, so that a record's size is its size on the wire.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// unique gives a name for a topic or group that no other run uses.
func (r *run) unique(kind string) string {
	r.names++
	return fmt.Sprintf("%s-%s%d", r.prefix, kind, r.names)
}

// --- checks: each ends the scenario with the place and the reason ---

func fail(format string, args ...any) {
	panic(failure{caller() + ": " + fmt.Sprintf(format, args...)})
}

// caller is the nearest line outside this file.
func caller() string {
	for skip := 2; ; skip++ {
		_, file, line, ok := runtime.Caller(skip)
		base := file[strings.LastIndexByte(file, '/')+1:]
		if !ok || base != "harness.go" {
			return fmt.Sprintf("%s:%d", base, line)
		}
	}
}

func check(err error) {
	if err != nil {
		fail("unexpected error: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		fail("unexpected error: %v", err)
	}
	return v
}

func equal[T any](what string, got, want T) {
	if !reflect.DeepEqual(got, want) {
		fail("%s: got %s, want %s", what, short(got), short(want))
	}
}

func isTrue(what string, ok bool) {
	if !ok {
		fail("not so: %s", what)
	}
}

func short(v any) string {
	text := fmt.Sprintf("%v", v)
	if b, ok := v.([]byte); ok && b != nil {
		text = fmt.Sprintf("%q", b)
	}
	if len(text) > 200 {
		return fmt.Sprintf("%s... (%d characters)", text[:200], len(text))
	}
	return text
}

// eventually polls until the condition holds; it returns "" or what is still missing.
func (r *run) eventually(within time.Duration, condition func() string) {
	ctx, cancel := context.WithTimeout(r.ctx, within)
	defer cancel()
	for {
		missing := condition()
		if missing == "" {
			return
		}
		select {
		case <-ctx.Done():
			fail("not within %s: %s", within, missing)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// --- clients ---

// client has franz-go's defaults, except that it asks again sooner where a new topic has no leader yet.
func (r *run) client(opts ...kgo.Opt) *kgo.Client {
	common := []kgo.Opt{kgo.SeedBrokers(r.bootstrap), kgo.MetadataMinAge(200 * time.Millisecond)}
	cl := must(kgo.NewClient(append(common, opts...)...))
	r.cleanups = append(r.cleanups, cl.CloseAllowingRebalance)
	return cl
}

func (r *run) admin() *kadm.Client { return kadm.NewClient(r.client()) }

// topic creates a topic and waits until the metadata shows it, as a new one takes a moment to have leaders.
func (r *run) topic(partitions int32) string {
	return r.topicWith(partitions, nil)
}

func (r *run) topicWith(partitions int32, configs map[string]*string) string {
	name := r.unique("topic")
	admin := r.admin()
	must(admin.CreateTopic(r.ctx, partitions, -1, configs, name))
	r.awaitTopic(admin, name, partitions)
	return name
}

func (r *run) awaitTopic(admin *kadm.Client, name string, partitions int32) {
	r.eventually(15*time.Second, func() string {
		detail := must(admin.ListTopics(r.ctx, name))[name]
		if detail.Err != nil || int32(len(detail.Partitions)) != partitions {
			return fmt.Sprintf("topic %s: %d partitions, %v", name, len(detail.Partitions), detail.Err)
		}
		for _, p := range detail.Partitions {
			if p.Err != nil || p.Leader < 0 {
				return fmt.Sprintf("partition %d: leader %d, %v", p.Partition, p.Leader, p.Err)
			}
		}
		if err := must(admin.ListEndOffsets(r.ctx, name)).Error(); err != nil {
			return fmt.Sprintf("topic %s: %v", name, err) // a leader that was named but is not ready yet
		}
		return ""
	})
}

// request sends one raw request to the bootstrap broker, which in these tests leads everything.
func (r *run) request(cl *kgo.Client, req kmsg.Request) kmsg.Response {
	check(cl.Ping(r.ctx))
	return must(cl.DiscoveredBrokers()[0].Request(r.ctx, req))
}
