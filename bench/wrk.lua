-- wrk -s wrk.lua URL -- FILE: asks for the paths in FILE, one a line, over and over, and ends with one line of figures.
local requests, at = {}, 0

function init(args)
  for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format('GET', path) end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('figures %d %d %d %d', summary.requests, summary.duration, latency:percentile(99), failed))
end
