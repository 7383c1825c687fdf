// A producer and a group member with franz-go. Its defaults are kept (idempotent, acknowledged by all in-sync replicas,
// cooperative-sticky) but that topics may be made by asking for them. Offsets are committed for records that were printed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const usage = "usage: client produce BOOTSTRAP TOPIC COUNT INTERVAL_MS CODEC | client consume BOOTSTRAP TOPIC GROUP"

var (
	codecs = map[string]kgo.CompressionCodec{
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression(),
	}
	stdout sync.Mutex
)

func say(format string, args ...any) {
	stdout.Lock()
	defer stdout.Unlock()
	fmt.Printf(format+"\n", args...)
}

// One line, whatever the text.
func text(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

// Dots for the end of each value, as many as PAD in the environment says.
func padding() string {
	n, _ := strconv.Atoi(os.Getenv("PAD"))
	return strings.Repeat(".", max(n, 0))
}

func produce(ctx context.Context, bootstrap, topic string, count int, interval time.Duration, codecName string) int {
	codec, ok := codecs[codecName]
	if !ok {
		say("unsupported %s", codecName)
		return 3
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.DefaultProduceTopic(topic),
		kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(codec))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer client.Close()
	pad := padding()
	var acked atomic.Int64
	begin := time.Now()
	for i := 0; i < count; i++ {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(begin.Add(time.Duration(i) * interval))):
		}
		if ctx.Err() != nil {
			break
		}
		record := &kgo.Record{Key: []byte(strconv.Itoa(i)), Value: []byte(fmt.Sprintf("franzgo-%d%s", i, pad))}
		client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			if err != nil {
				say("error %d %s", i, text(err))
				return
			}
			acked.Add(1)
			say("ack %d %d %d %d", i, r.Partition, r.Offset, time.Now().UnixMilli())
		})
	}
	if err := client.Flush(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	say("done %d", acked.Load())
	return 0
}

// The partitions of this member. The callbacks of cooperative rebalances tell only what changes.
type assignment map[int32]bool

func (a assignment) change(partitions []int32, owned bool) {
	for _, p := range partitions {
		if owned {
			a[p] = true
		} else {
			delete(a, p)
		}
	}
	mine := make([]int, 0, len(a))
	for p := range a {
		mine = append(mine, int(p))
	}
	sort.Ints(mine)
	line := strings.Trim(strings.ReplaceAll(fmt.Sprint(mine), " ", ","), "[]")
	say("%s", strings.TrimRight("assigned "+line, " "))
}

func consume(ctx context.Context, bootstrap, topic, group string) int {
	mine := assignment{}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.ConsumeTopics(topic),
		kgo.ConsumerGroup(group), kgo.AutoCommitMarks(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			mine.change(added[topic], true)
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, removed map[string][]int32) {
			if err := cl.CommitMarkedOffsets(ctx); err != nil {
				fmt.Fprintln(os.Stderr, "commit at revocation:", err)
			}
			mine.change(removed[topic], false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
			mine.change(lost[topic], false)
		}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(t string, p int32, err error) {
			if !errors.Is(err, context.Canceled) {
				fmt.Fprintf(os.Stderr, "fetch %s-%d: %v\n", t, p, err)
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			say("record %d %d %s %d", r.Partition, r.Offset, r.Value, time.Now().UnixMilli())
			client.MarkCommitRecords(r)
		})
	}
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	status := 0
	if err := client.CommitMarkedOffsets(end); err != nil {
		fmt.Fprintln(os.Stderr, "last commit:", err)
		status = 1
	}
	if err := client.LeaveGroupContext(end); err != nil {
		fmt.Fprintln(os.Stderr, "leaving:", err)
		status = 1
	}
	client.Close()
	return status
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	args := os.Args[1:]
	switch {
	case len(args) == 6 && args[0] == "produce":
		count, errCount := strconv.Atoi(args[3])
		interval, errInterval := strconv.Atoi(args[4])
		if errCount != nil || errInterval != nil {
			break
		}
		os.Exit(produce(ctx, args[1], args[2], count, time.Duration(interval)*time.Millisecond, args[5]))
	case len(args) == 4 && args[0] == "consume":
		os.Exit(consume(ctx, args[1], args[2], args[3]))
	}
	fmt.Fprintln(os.Stderr, usage)
	os.Exit(2)
}
