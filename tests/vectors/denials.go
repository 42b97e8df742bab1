// Prints the "statuses" of denials.json: what kube-apiserver's own code says of a denial.
//
// In a folder with this file and tests/cluster/kubernetes/go.mod and go.sum: go run -mod=mod denials.go
//
// Admission plugins need a whole server to say their sentences; theirs are copied from plugin/pkg/admission and
// staging/src/k8s.io/{apiserver,pod-security-admission}, and only put into a Status here.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	webhookerrors "k8s.io/apiserver/pkg/admission/plugin/webhook/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"
)

type row struct {
	ID     string          `json:"id"`
	Want   map[string]any  `json:"denial"`
	Status json.RawMessage `json:"status"`
}

var rows []row

func emit(id string, want map[string]any, err *apierrors.StatusError) {
	s := err.Status()
	s.Kind, s.APIVersion = "Status", "v1"
	raw, e := json.Marshal(s)
	if e != nil {
		panic(e)
	}
	rows = append(rows, row{id, want, raw})
}

func authz(id, kind string, a authorizer.AttributesRecord, reason string) {
	want := map[string]any{"kind": kind, "user": a.User.GetName(), "verb": a.Verb}
	if a.ResourceRequest {
		want["resource"], want["api_group"] = a.Resource, a.APIGroup
		want["scope"] = "cluster"
		if a.Namespace != "" {
			want["namespace"], want["scope"] = a.Namespace, "namespace"
		}
		if a.Subresource != "" {
			want["subresource"] = a.Subresource
		}
		if a.Name != "" {
			want["name"] = a.Name
		}
	} else {
		want["resource"] = a.Path
	}
	if reason != "" {
		want["reason"] = reason
	}
	emit(id, want, responsewriters.ForbiddenStatusError(a, reason))
}

func u(name string) user.Info { return &user.DefaultInfo{Name: name} }

func main() {
	arn := "arn:aws:sts::222222222222:assumed-role/cross-account-role/botocore-session-1700000000"
	r := func(who, verb, group, res, sub, ns, name string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{User: u(who), Verb: verb, APIGroup: group, Resource: res, Subresource: sub, Namespace: ns, Name: name, ResourceRequest: true}
	}
	authz("list", "rbac", r(arn, "list", "", "pods", "", "data", ""), "")
	authz("subresource and name", "rbac", r(arn, "get", "", "pods", "log", "data", "report-1"), "")
	authz("group", "rbac", r(arn, "create", "batch", "jobs", "", "data", ""), "")
	authz("cluster scope", "rbac", r("alice", "list", "", "nodes", "", "", ""), "")
	authz("deletecollection", "rbac", r("alice", "deletecollection", "", "pods", "", "data", ""), "")
	authz("wildcards", "rbac", r("alice", "*", "*", "*", "", "data", ""), "")
	authz("no user name", "rbac", r("", "get", "", "pods", "", "data", "p1"), "")
	authz("anonymous", "rbac", r("system:anonymous", "get", "", "pods", "exec", "data", "p1"), "")
	authz("dangling role", "rbac", r(arn, "get", "", "pods", "", "data", "p1"), `RBAC: role.rbac.authorization.k8s.io "nope" not found`)
	authz("dangling roles", "rbac", r(arn, "get", "", "pods", "", "data", "p1"), `RBAC: [role.rbac.authorization.k8s.io "a" not found, clusterrole.rbac.authorization.k8s.io "b" not found]`)
	authz("GKE", "rbac", r("a@b.iam.gserviceaccount.com", "list", "", "pods", "", "data", ""), `requires one of ["container.pods.list"] permission(s).`)
	authz("AKS", "rbac", r("a@b.example", "list", "apps", "deployments", "", "data", ""), `User does not have access to the resource in Azure. Update role assignment to allow access.`)
	authz("node", "node", r("system:node:ip-10-0-0-1.ec2.internal", "get", "", "secrets", "", "data", "s"), `no relationship found between node 'ip-10-0-0-1.ec2.internal' and this object`)
	authz("quotes and backslashes", "rbac", r(`CORP\alice "the" <a&b>`, "get", "", "pods", "", "data", "p1"), "")
	authz("line break, controls, bidi", "rbac", r("a\nb\t\x1b[31m\u202e\u00e9\U0001f600", "get", "", "pods", "", "data", "p1"), "")
	authz("name with a colon", "rbac", r(arn, "get", "rbac.authorization.k8s.io", "clusterroles", "", "", "system:node"), "")
	authz("impersonate user", "impersonation", r(arn, "impersonate", "", "users", "", "", "bob"), "")
	authz("impersonate serviceaccount", "impersonation", r(arn, "impersonate", "", "serviceaccounts", "", "data", "bob"), "")
	authz("constrained impersonation", "impersonation", r(arn, "impersonate:user-info", "authentication.k8s.io", "users", "", "", "bob"), "")
	authz("constrained impersonation of a request", "impersonation", r(arn, "impersonate-on:user-info:list", "", "pods", "", "data", ""), "")
	authz("path", "non-resource", authorizer.AttributesRecord{User: u(arn), Verb: "get", Path: "/metrics"}, "")
	authz("path, anonymous", "non-resource", authorizer.AttributesRecord{User: u("system:anonymous"), Verb: "get", Path: "/"}, "")
	authz("path, dangling role", "non-resource", authorizer.AttributesRecord{User: u(arn), Verb: "post", Path: "/version"}, `RBAC: clusterrole.rbac.authorization.k8s.io "nope" not found`)

	pods, group := schema.GroupResource{Resource: "pods"}, "rbac.authorization.k8s.io"
	emit("exec without create", map[string]any{"kind": "exec-create", "resource": "pods", "api_group": "", "name": "p1"}, apierrors.NewForbidden(pods, "p1", errors.New("")))
	emit("exec without create, dangling role", map[string]any{"kind": "exec-create", "resource": "pods", "api_group": "", "name": "p1", "reason": `RBAC: role.rbac.authorization.k8s.io "nope" not found`},
		apierrors.NewForbidden(pods, "p1", errors.New(`RBAC: role.rbac.authorization.k8s.io "nope" not found`)))

	ctx := request.WithNamespace(request.WithUser(context.Background(), &user.DefaultInfo{Name: arn, Groups: []string{"airflow-workers", "system:authenticated"}}), "data")
	resolver, _ := validation.NewTestRuleResolver(nil, nil, nil, nil)
	rules := []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}}, {Verbs: []string{"*"}, APIGroups: []string{"batch"}, Resources: []string{"jobs"}, ResourceNames: []string{"a"}}}
	err := validation.ConfirmNoEscalation(ctx, resolver, rules)
	emit("escalation", map[string]any{"kind": "escalation", "user": arn, "resource": "roles", "api_group": group, "name": "r", "reason": `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}` + "\n" + `{APIGroups:["batch"], Resources:["jobs"], ResourceNames:["a"], Verbs:["*"]}`}, apierrors.NewForbidden(schema.GroupResource{Group: group, Resource: "roles"}, "r", err))
	err = validation.ConfirmNoEscalation(ctx, resolver, []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}}})
	emit("escalation, path", map[string]any{"kind": "escalation", "user": arn, "resource": "clusterroles", "api_group": group, "reason": `{NonResourceURLs:["/metrics"], Verbs:["get"]}`}, apierrors.NewForbidden(schema.GroupResource{Group: group, Resource: "clusterroles"}, "", err))

	adm := func(id, kind, name, tail string, more map[string]any) {
		want := map[string]any{"kind": kind, "resource": "pods", "api_group": "", "reason": tail}
		if name != "" {
			want["name"] = name
		}
		for k, v := range more {
			want[k] = v
		}
		emit(id, want, apierrors.NewForbidden(pods, name, errors.New(tail)))
	}
	adm("PodSecurity", "pod-security", "p1", `violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "base" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or container "base" must set securityContext.runAsNonRoot=true)`, nil)
	adm("PodSecurityPolicy", "pod-security", "p1", `unable to validate against any pod security policy: [spec.securityContext.hostNetwork: Invalid value: true: Host network is not allowed to be used]`, nil)
	adm("quota", "quota", "p1", `exceeded quota: compute, requested: requests.cpu=2, used: requests.cpu=1, limited: requests.cpu=2`, nil)
	adm("quota, what must be said", "quota", "p1", `failed quota: compute: must specify limits.cpu for: base; limits.memory for: base`, nil)
	adm("LimitRange", "limit-range", "p1", `maximum cpu usage per Container is 1, but limit is 2`, nil)
	adm("LimitRange, several", "limit-range", "p1", `[maximum cpu usage per Container is 500m, but limit is 1, cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000]`, nil)
	adm("service account", "service-account", "p1", `error looking up service account data/runner: serviceaccount "runner" not found`, map[string]any{"namespace": "data"})
	adm("priority class", "priority-class", "p1", `no PriorityClass with name urgent was found`, nil)
	adm("priority class, integer", "priority-class", "p1", `the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name`, nil)
	adm("terminating", "namespace-terminating", "p1", `unable to create new content in namespace data because it is being terminated`, map[string]any{"namespace": "data"})
	adm("owner reference", "owner-reference", "p1", `cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>`, nil)
	adm("not ready", "not-ready", "p1", `not yet ready to handle request`, nil)
	adm("another plugin's", "other", "p1", `pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead`, nil)
	adm("NodeRestriction", "node", "p1", `node "a" can only create pods with spec.nodeName set to itself`, nil)
	vap := `ValidatingAdmissionPolicy 'no-latest' with binding 'no-latest-data' denied request: images need a tag`
	e := apierrors.NewForbidden(pods, "p1", errors.New(vap))
	e.ErrStatus.Reason, e.ErrStatus.Code = metav1.StatusReasonInvalid, 422
	emit("ValidatingAdmissionPolicy", map[string]any{"kind": "policy", "resource": "pods", "api_group": "", "name": "p1", "reason": vap}, e)
	hook := func(id, tail string, result *metav1.Status) {
		tail = strings.TrimRight(tail, "\n")
		e := webhookerrors.ToStatusErr("validate.kyverno.svc-fail", result)
		emit(id, map[string]any{"kind": "webhook", "reason": `admission webhook "validate.kyverno.svc-fail" denied the request` + tail}, e)
	}
	hook("webhook", ": images need a tag", &metav1.Status{Message: "images need a tag", Code: 403})
	hook("webhook, lines", ": \n\nresource Pod/data/p1 was blocked\n", &metav1.Status{Message: "\n\nresource Pod/data/p1 was blocked\n"})
	hook("webhook, silent", " without explanation", nil)

	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(true)
	out.SetIndent("", " ")
	if err := out.Encode(rows); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
