// What the driver runs, by the first word of the command line.
import { gateway } from './gateway.js';
import { pair } from './pair.js';
import { consume, produce } from './roles.js';
import { worker } from './worker.js';

const USAGE = `usage: client produce BOOTSTRAP TOPIC COUNT INTERVAL_MS CODEC
       client consume BOOTSTRAP TOPIC GROUP
       client pair BOOTSTRAP PREFIX COUNT INTERVAL_MS [WORKERS [gateway|worker]]`;

const [mode, ...args] = process.argv.slice(2);
if (mode === 'produce' && args.length === 5)
    process.exit(await produce(args[0], args[1], Number(args[2]), Number(args[3]), args[4]));
else if (mode === 'consume' && args.length === 3)
    process.exit(await consume(args[0], args[1], args[2]));
else if (mode === 'pair' && args.length >= 4 && args.length <= 6) {
    await pair(args[0], args[1], Number(args[2]), Number(args[3]), Number(args[4] ?? 1), args[5] ?? 'gateway');
    process.exit(0);
} else if (mode === 'worker' && args.length === 2)
    await worker(args[0], args[1]);
else if (mode === 'gateway' && args.length === 4)
    await gateway(args[0], args[1], Number(args[2]), Number(args[3]));
else {
    console.error(USAGE);
    process.exit(2);
}
