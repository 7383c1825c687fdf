// Starts a gateway and its workers, each in a process of its own, and passes on what they say, until every request is answered
// and every event has arrived, or it is too late. A service that ends before is told about and never started again.
import { ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { say, sleep } from './say.js';

const PATIENCE_MS = 150000;
const STOP_MS = 20000;

class Services {
    readonly replies = new Set<number>();
    readonly events = new Set<number>();
    private readonly running = new Map<string, ChildProcess>();
    private stopping = false;

    start(name: string, args: string[]): void {
        const child = spawn(process.execPath, [process.argv[1], ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
        this.running.set(name, child);
        say('started', name, child.pid ?? 0);
        createInterface({ input: child.stdout! }).on('line', line => this.hear(name, line));
        child.on('exit', (code, signal) => {
            this.running.delete(name);
            if (!this.stopping || (code !== 0 && signal !== 'SIGTERM'))
                say('ended', name, signal ?? String(code));
        });
    }

    private hear(name: string, line: string): void {
        const [kind, i] = line.split(' ');
        if (kind === 'ready') {
            say('ready', name, i);
            return;
        }
        if (kind === 'reply')
            this.replies.add(Number(i));
        else if (kind === 'event')
            this.events.add(Number(i));
        say(line);
    }

    async stop(): Promise<void> {
        this.stopping = true;
        for (const child of this.running.values())
            child.kill('SIGTERM');
        for (let waited = 0; this.running.size > 0 && waited < STOP_MS; waited += 50)
            await sleep(50);
        for (const child of this.running.values())
            child.kill('SIGKILL');
        while (this.running.size > 0)
            await sleep(50);
    }
}

export async function pair(bootstrap: string, prefix: string, count: number, intervalMs: number, workers: number,
    first: string): Promise<void> {
    const services = new Services();
    const startWorkers = () => {
        for (let n = 1; n <= workers; n++)
            services.start(`worker-${n}`, ['worker', bootstrap, prefix]);
    };
    process.on('SIGTERM', () => void services.stop().then(() => process.exit(1)));
    if (first === 'worker')
        startWorkers();
    services.start('gateway', ['gateway', bootstrap, prefix, String(count), String(intervalMs)]);
    if (first !== 'worker')
        startWorkers();
    const until = Date.now() + count * intervalMs + PATIENCE_MS;
    while ((services.replies.size < count || services.events.size < count) && Date.now() < until)
        await sleep(50);
    await services.stop();
    say('done', services.replies.size, services.events.size);
}
