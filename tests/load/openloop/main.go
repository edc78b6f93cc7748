// Open-loop load: requests leave at a fixed rate whether or not earlier ones were answered, and each
// one's latency counts from the moment it was due. So a server that stalls is seen to stall, which
// a client that waits for its answers would hide.
//
// The file has a request a line: method, path, token or "-", body, separated by tabs. Prints one line
// of JSON, latencies in milliseconds.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type job struct {
	due     time.Time
	request []byte
}

type outcome struct {
	due     time.Time
	latency time.Duration
	ok      bool
}

func readRequests(path, address string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var requests [][]byte
	for _, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		field := strings.SplitN(line, "\t", 4)
		if len(field) != 4 {
			return nil, fmt.Errorf("not method, path, token and body: %q", line)
		}
		request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n", field[0], field[1], address)
		if field[2] != "-" {
			request += "Authorization: Bearer " + field[2] + "\r\n"
		}
		if field[3] != "" {
			request += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(field[3]))
		}
		requests = append(requests, []byte(request+"\r\n"+field[3]))
	}
	return requests, nil
}

// Reads one answer; true when its status is 2xx.
func readAnswer(reader *bufio.Reader) (bool, error) {
	status, err := reader.ReadSlice('\n')
	if err != nil {
		return false, err
	}
	ok := len(status) > 9 && status[9] == '2'
	length := 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		if len(line) <= 2 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			if length, err = strconv.Atoi(strings.TrimSpace(string(line[len(name):]))); err != nil {
				return false, err
			}
		}
	}
	_, err = io.CopyN(io.Discard, reader, int64(length))
	return ok, err
}

// One connection: takes what is due and waits for its answer, until there is nothing more.
func work(address string, jobs <-chan job) []outcome {
	var outcomes []outcome
	var connection net.Conn
	var reader *bufio.Reader
	for next := range jobs {
		var ok bool
		var err error
		if connection == nil {
			if connection, err = net.Dial("tcp", address); err == nil {
				reader = bufio.NewReaderSize(connection, 64<<10)
			}
		}
		if err == nil {
			connection.SetDeadline(next.due.Add(20 * time.Second))
			if _, err = connection.Write(next.request); err == nil {
				ok, err = readAnswer(reader)
			}
		}
		if err != nil && connection != nil {
			connection.Close()
			connection = nil
		}
		outcomes = append(outcomes, outcome{next.due, time.Since(next.due), ok && err == nil})
	}
	if connection != nil {
		connection.Close()
	}
	return outcomes
}

// Go's timers are a millisecond coarse; the kernel's are not.
func sleepUntil(due time.Time) {
	for {
		left := time.Until(due)
		if left <= 0 {
			return
		}
		span := syscall.NsecToTimespec(int64(left))
		syscall.Nanosleep(&span, nil)
	}
}

func percentile(sorted []float64, share float64) float64 {
	at := int(share * float64(len(sorted)))
	if at >= len(sorted) {
		at = len(sorted) - 1
	}
	return sorted[at]
}

func main() {
	address := flag.String("address", "127.0.0.1:3000", "where the server is")
	file := flag.String("requests", "", "the requests")
	rate := flag.Float64("rate", 100, "requests a second")
	seconds := flag.Float64("seconds", 5, "for how long")
	warmUp := flag.Float64("warm-up", 0, "for how long before that, whose latencies do not count")
	connections := flag.Int("connections", 64, "connections, kept alive")
	flag.Parse()

	requests, err := readRequests(*file, *address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "openloop:", err)
		os.Exit(1)
	}
	total := int(*rate * (*warmUp + *seconds))
	jobs := make(chan job, total+1)
	outcomes := make([][]outcome, *connections)
	var running sync.WaitGroup
	for i := range outcomes {
		running.Add(1)
		go func(i int) {
			defer running.Done()
			outcomes[i] = work(*address, jobs)
		}(i)
	}

	runtime.LockOSThread()
	start := time.Now().Add(10 * time.Millisecond)
	for i := 0; i < total; i++ {
		due := start.Add(time.Duration(float64(i) / *rate * float64(time.Second)))
		sleepUntil(due)
		jobs <- job{due, requests[i%len(requests)]}
	}
	close(jobs)
	running.Wait()

	measuredFrom := start.Add(time.Duration(*warmUp * float64(time.Second)))
	var latencies []float64
	failed := 0
	for _, some := range outcomes {
		for _, one := range some {
			if !one.ok {
				failed++
			}
			if !one.due.Before(measuredFrom) {
				latencies = append(latencies, float64(one.latency)/float64(time.Millisecond))
			}
		}
	}
	if len(latencies) == 0 {
		fmt.Fprintln(os.Stderr, "openloop: nothing was sent")
		os.Exit(1)
	}
	sort.Float64s(latencies)
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": len(latencies), "failed": failed, "rate": *rate,
		"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99),
		"p999": percentile(latencies, 0.999), "max": latencies[len(latencies)-1]})
}
