#!/usr/bin/env python3
"""Make ../librdkafka_batches.txt: one batch per codec as librdkafka's producer sends it.

A broker of three APIs on loopback answers kcat and keeps the records of its Produce request.
Records: key-0..key-39, the value of key-i is i times "v" (null for 0), one header h=1.
"""
import os
import queue
import socket
import struct
import subprocess
import sys
import threading

PRODUCE, METADATA, API_VERSIONS = 0, 3, 18
VERSIONS = [(PRODUCE, 0, 7), (1, 0, 11), (METADATA, 0, 1), (10, 0, 2), (API_VERSIONS, 0, 0)]


def string(text):
    return struct.pack('>h', len(text)) + text


def read_exactly(peer, size):
    data = b''
    while len(data) < size:
        part = peer.recv(size - len(data))
        if not part:
            return None
        data += part
    return data


def answer_api_versions(version):
    if version > 0:
        return struct.pack('>hihhh', 35, 1, API_VERSIONS, 0, 0)
    return struct.pack('>hi', 0, len(VERSIONS)) + b''.join(struct.pack('>hhh', *v) for v in VERSIONS)


def answer_metadata(port):
    broker = struct.pack('>i', 0) + string(b'127.0.0.1') + struct.pack('>ih', port, -1)
    partition = struct.pack('>hiiiiii', 0, 0, 0, 1, 0, 1, 0)
    topic = struct.pack('>h', 0) + string(b't') + b'\0' + struct.pack('>i', 1) + partition
    return struct.pack('>i', 1) + broker + struct.pack('>ii', 0, 1) + topic


def take_records(body):
    """From a Produce request v3-7 with one topic and partition."""
    at = 2  # transactional id: null
    at += 2 + 4 + 4  # acks, timeout, topic count
    at += 2 + struct.unpack_from('>h', body, at)[0]
    at += 4 + 4  # partition count, partition
    size = struct.unpack_from('>i', body, at)[0]
    return body[at + 4:at + 4 + size]


def answer_produce():
    return (struct.pack('>i', 1) + string(b't') + struct.pack('>iihqqq', 1, 0, 0, 0, -1, 0) +
            struct.pack('>i', 0))


def serve(peer, port):
    """Answer until a Produce request came; its records, or None when the peer left."""
    while True:
        head = read_exactly(peer, 4)
        if head is None:
            return None
        frame = read_exactly(peer, struct.unpack('>i', head)[0])
        key, version, correlation, size = struct.unpack_from('>hhih', frame, 0)
        body = frame[10 + max(size, 0):]
        records = None
        if key == API_VERSIONS:
            answer = answer_api_versions(version)
        elif key == METADATA:
            answer = answer_metadata(port)
        elif key == PRODUCE:
            records, answer = take_records(body), answer_produce()
        else:
            sys.exit(f'unexpected request {key} v{version}')
        peer.sendall(struct.pack('>ii', len(answer) + 4, correlation) + answer)
        if records is not None:
            return records


def accept(server, port, got):
    """librdkafka connects more than once: serve each peer on a thread of its own."""
    def run(peer):
        records = serve(peer, port)
        if records is not None:
            got.put(records)
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return  # closed: done
        threading.Thread(target=run, args=(peer,), daemon=True).start()


def capture(codec):
    lines = ''.join(f'key-{i}:{"v" * i}\n' for i in range(40))
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        with subprocess.Popen(['kcat', '-P', '-b', f'127.0.0.1:{port}', '-t', 't', '-p', '0', '-K:', '-Z',
                               '-H', 'h=1', '-X', 'linger.ms=500', '-z', codec],
                              stdin=subprocess.PIPE) as kcat:
            kcat.stdin.write(lines.encode())
            kcat.stdin.close()
            got = queue.Queue()
            threading.Thread(target=accept, args=(server, port, got), daemon=True).start()
            records = got.get(timeout=20)
            kcat.kill()
    return records


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, '..', 'librdkafka_batches.txt'), 'w', encoding='ascii') as out:
        for codec in ('none', 'gzip', 'snappy', 'lz4', 'zstd'):
            out.write(f'{codec} {capture(codec).hex()}\n')


if __name__ == '__main__':
    main()
