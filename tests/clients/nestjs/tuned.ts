// Nothing, or with KAFKAJS_TUNED in the environment the settings of kafkajs-tuned/README.md.
export const TUNED = process.env.KAFKAJS_TUNED ? { sessionTimeout: 6000, heartbeatInterval: 2000, maxWaitTimeInMs: 500,
    retry: { retries: 3, initialRetryTime: 100 } } : {};
