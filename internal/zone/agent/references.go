package agent

// references lists what resources refer to that comes over ADS as well, by its
// type: the endpoints of clusters, the routes of listeners, the secrets of both.
// It looks at their JSON, which is the same for every extension that holds one of
// these.
func references(documents []any) map[string][]string {
	found := map[string][]string{}
	for _, document := range documents {
		cluster, _ := document.(map[string]any)
		if cluster["@type"] == clusters && cluster["type"] == "EDS" {
			name, _ := cluster["name"].(string)
			if eds, ok := cluster["edsClusterConfig"].(map[string]any); ok {
				if service, _ := eds["serviceName"].(string); service != "" {
					name = service
				}
			}
			found[endpoints] = append(found[endpoints], name)
		}
		walk(document, found)
	}
	return found
}

func walk(value any, found map[string][]string) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			walk(item, found)
		}
	case map[string]any:
		if rds, ok := v["rds"].(map[string]any); ok {
			if name, _ := rds["routeConfigName"].(string); name != "" {
				found[routes] = append(found[routes], name)
			}
		}
		if _, ok := v["sdsConfig"].(map[string]any); ok {
			if name, _ := v["name"].(string); name != "" {
				found[secrets] = append(found[secrets], name)
			}
		}
		for _, item := range v {
			walk(item, found)
		}
	}
}
