// A producer and a group member with sarama. Its defaults are kept but for acks=all, idempotence (which asks for one open
// request per broker) and reading from the earliest offset.
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
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

const usage = "usage: client produce BOOTSTRAP TOPIC COUNT INTERVAL_MS CODEC | client consume BOOTSTRAP TOPIC GROUP"

var (
	codecs = map[string]sarama.CompressionCodec{
		"none":   sarama.CompressionNone,
		"gzip":   sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy,
		"lz4":    sarama.CompressionLZ4,
		"zstd":   sarama.CompressionZSTD,
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

func answers(producer sarama.AsyncProducer, acked *int, pending *sync.WaitGroup, done chan<- struct{}) {
	successes, failures := producer.Successes(), producer.Errors()
	for successes != nil || failures != nil {
		select {
		case m, ok := <-successes:
			if !ok {
				successes = nil
				continue
			}
			*acked++
			pending.Done()
			say("ack %d %d %d %d", m.Metadata, m.Partition, m.Offset, time.Now().UnixMilli())
		case e, ok := <-failures:
			if !ok {
				failures = nil
				continue
			}
			pending.Done()
			say("error %d %s", e.Msg.Metadata, text(e.Err))
		}
	}
	close(done)
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
	config := sarama.NewConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Return.Successes = true
	config.Producer.Compression = codec
	producer, err := sarama.NewAsyncProducer(strings.Split(bootstrap, ","), config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	pad := padding()
	acked := 0
	done := make(chan struct{})
	var pending sync.WaitGroup
	go answers(producer, &acked, &pending, done)
	begin := time.Now()
	for i := 0; i < count; i++ {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(begin.Add(time.Duration(i) * interval))):
		}
		if ctx.Err() != nil {
			break
		}
		pending.Add(1)
		producer.Input() <- &sarama.ProducerMessage{Topic: topic, Metadata: i,
			Key: sarama.StringEncoder(strconv.Itoa(i)), Value: sarama.StringEncoder(fmt.Sprintf("sarama-%d%s", i, pad))}
	}
	pending.Wait() // AsyncClose fails what is being retried
	producer.AsyncClose()
	<-done
	say("done %d", acked)
	return 0
}

type member struct {
	topic string
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	mine := []string{}
	claims := session.Claims()[m.topic]
	sort.Slice(claims, func(i, j int) bool { return claims[i] < claims[j] })
	for _, p := range claims {
		mine = append(mine, strconv.Itoa(int(p)))
	}
	say("%s", strings.TrimRight("assigned "+strings.Join(mine, ","), " "))
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			say("record %d %d %s %d", message.Partition, message.Offset, message.Value, time.Now().UnixMilli())
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func consume(ctx context.Context, bootstrap, topic, group string) int {
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	consumer, err := sarama.NewConsumerGroup(strings.Split(bootstrap, ","), group, config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for ctx.Err() == nil {
		// Returns at each rebalance, and on errors, after which sarama's users are told to call it again.
		err := consumer.Consume(ctx, []string{topic}, &member{topic})
		if err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "session:", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
	if err := consumer.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "leaving:", err)
		return 1
	}
	return 0
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
