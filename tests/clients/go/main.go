// Scenarios that a franz-go client plays against a Kafka broker.
//
// usage: franz-go-scenarios [-list] [-parallel N] host:port [scenario ...]
//
// Each scenario uses topics and groups of its own and ends in one JSON line on standard output:
// {"name", "ok", "detail", "seconds"}. The exit status is 0 when the program ran to its end, whatever
// the scenarios said.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"
)

// scenarioTimeout bounds one scenario; the slowest takes about 15 s against Apache Kafka.
const scenarioTimeout = 75 * time.Second

// scenarios is filled by the init function of each theme's file.
var scenarios = map[string]func(*run){}

type verdict struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	Detail  string  `json:"detail"`
	Seconds float64 `json:"seconds"`
}

func main() {
	list := flag.Bool("list", false, "print the scenario names and exit")
	parallel := flag.Int("parallel", 3, "how many scenarios run at a time")
	flag.Parse()
	if *list {
		for _, name := range allNames() {
			fmt.Println(name)
		}
		return
	}
	if flag.NArg() < 1 {
		fmt.Fprintln(os.Stderr, "usage: franz-go-scenarios [-list] [-parallel N] host:port [scenario ...]")
		os.Exit(2)
	}
	names := flag.Args()[1:]
	if len(names) == 0 {
		names = allNames()
	}
	playAll(flag.Arg(0), names, *parallel)
}

func allNames() []string {
	names := make([]string, 0, len(scenarios))
	for name := range scenarios {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func playAll(bootstrap string, names []string, parallel int) {
	slots := make(chan struct{}, parallel)
	var printing sync.Mutex
	var playing sync.WaitGroup
	out := json.NewEncoder(os.Stdout)
	for _, name := range names {
		slots <- struct{}{}
		playing.Add(1)
		go func() {
			defer playing.Done()
			v := play(bootstrap, name)
			printing.Lock()
			_ = out.Encode(v)
			printing.Unlock()
			<-slots
		}()
	}
	playing.Wait()
}

// play runs one scenario; one that ignores its deadline is left behind and reported.
func play(bootstrap, name string) verdict {
	scenario, known := scenarios[name]
	if !known {
		return verdict{Name: name, Detail: "unknown scenario"}
	}
	start := time.Now()
	done := make(chan string, 1)
	go func() { done <- outcome(bootstrap, name, scenario) }()
	var detail string
	select {
	case detail = <-done:
	case <-time.After(scenarioTimeout + 10*time.Second):
		detail = "hung: did not end after its deadline"
	}
	seconds := float64(time.Since(start).Milliseconds()) / 1000
	return verdict{Name: name, OK: detail == "", Detail: detail, Seconds: seconds}
}
