-- HAProxy asks a zone whether a request may go on, and tells the service who sends it.
--
--   http-request lua.meridian-authorize "mesh=payments&name=ledger-1"
--   http-request deny unless { var(txn.meridian) -m str yes }
--
-- The argument states who the caller must be, as the query of /v1/authorize does;
-- "anybody" states nothing: the token has to be good. A refusal is answered from here. The
-- second line is part of it: HAProxy goes on with a request where Lua fails.
--
-- It needs HAProxy 2.6 or later. docs/proxies.md has the configuration around it.

local HOST = "zone.example"         -- the name of the zone
local VIA = "abns@meridian-zone"    -- the listener that leads to it, over TLS
local TIMEOUT = 1000                -- milliseconds

local IDENTITY = {
    "x-meridian-zone", "x-meridian-method", "x-meridian-kind", "x-meridian-mesh", "x-meridian-name",
    "x-meridian-workload", "x-meridian-service", "x-meridian-scope", "x-meridian-token-id", "x-meridian-service-account",
}

-- values returns all values of a header, in the form that the HTTP client takes.
local function values(headers, name)
    local all = {}
    for _, value in pairs(headers[name] or {}) do
        all[#all + 1] = value
    end
    return all
end

-- one returns the value of a header that is there once, else nil.
local function one(headers, name)
    local all = values(headers or {}, name)
    if #all == 1 then
        return all[1]
    end
end

-- refuse answers the request, with what the zone says of it.
local function refuse(txn, status, headers)
    local reply = txn:reply()
    reply:set_status(status)
    for _, name in ipairs({ "www-authenticate", "retry-after", "x-meridian-reason" }) do
        local value = one(headers, name)
        if value then
            reply:add_header(name, value)
        end
    end
    reply:add_header("cache-control", "no-store")
    txn:done(reply)
end

core.register_action("meridian-authorize", { "http-req" }, function(txn, stated)
    txn:set_var("txn.meridian", "no")
    local asked = txn.http:req_get_headers()
    local question = {
        ["host"] = { HOST },
        ["x-forwarded-method"] = { txn.f:method() },
        ["x-forwarded-uri"] = { txn.f:path() },
        ["x-forwarded-host"] = { txn.f:req_hdr("host") or "" },
    }
    for _, name in ipairs({ "authorization", "x-request-id" }) do
        local all = values(asked, name)
        if #all > 0 then
            question[name] = all -- two tokens are for the zone to refuse
        end
    end
    local query = ""
    if stated ~= "anybody" then
        query = "?" .. stated
    end
    local answer = core.httpclient():get({
        url = "http://" .. HOST .. "/v1/authorize" .. query, dst = VIA, headers = question, timeout = TIMEOUT,
    })
    if not answer or (answer.status ~= 200 and answer.status ~= 401 and answer.status ~= 403) then
        refuse(txn, 503, answer and answer.headers)
        return
    end
    if answer.status ~= 200 then
        refuse(txn, answer.status, answer.headers)
        return
    end
    if not one(answer.headers, "x-meridian-zone") then
        refuse(txn, 503) -- a 200 of somebody else
        return
    end
    txn.http:req_del_header("authorization")
    for _, name in ipairs(IDENTITY) do
        local value = one(answer.headers, name)
        if value and value ~= "" then
            txn.http:req_set_header(name, value)
        else
            txn.http:req_del_header(name)
        end
    end
    txn:set_var("txn.meridian", "yes")
end, 1)
