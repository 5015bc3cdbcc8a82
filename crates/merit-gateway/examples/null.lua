wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"agentId":"agent-123","metrics":{"successRate":0.93,"latencyScore":0.9},"source":"agent-manager","timestamp":"2025-01-17T18:00:00Z","tags":{"window":"1h"}}'
