// Lines for the driver, written at once to stdout; what NestJS and kafkajs log goes to stderr.
import { ConsoleLogger, Logger, LogLevel } from '@nestjs/common';

class StderrLogger extends ConsoleLogger {
    protected override printMessages(messages: unknown[], context?: string, level?: LogLevel): void {
        super.printMessages(messages, context, level, 'stderr');
    }
}

export const logger = new StderrLogger({ colors: false, logLevels: ['error', 'warn'] });
Logger.overrideLogger(logger);

export function say(...words: (string | number)[]): void {
    process.stdout.write(words.join(' ') + '\n'); // synchronous for pipes
}

export const sleep = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));

export function textOf(error: unknown): string {
    return (error instanceof Error ? error.message : JSON.stringify(error)).replaceAll('\n', ' ');
}
